from lake.client import Lake
from spark_jobs.cleaned_days import BEING_REPLACED, CleanedDay, cleaned_days
from tests.support.landing_files import DAY


def _store(text: str) -> CleanedDay:
    Lake().commit("interactions", [], [], {str(DAY): text})
    return cleaned_days(Lake())[DAY]


def test_a_stored_day_is_read_again():
    day = CleanedDay("events.videos", "7 2026-03-05 2026-03-01,2026-03-02", "files")
    assert _store(day.to_text()) == day
    assert day.events_digest == "events"


def test_a_day_of_an_older_version_agrees_with_no_received_files():
    assert _store("digest|key") == CleanedDay("digest", "key", "")


def test_a_day_being_replaced_agrees_with_no_state():
    assert _store(BEING_REPLACED.to_text()) == CleanedDay("", "", "")
