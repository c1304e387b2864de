from datetime import timedelta
from pathlib import Path

import pytest

from contracts.lake import Lake, on
from contracts.params import Ingest, load
from contracts.place import PROJECT, Night
from tasks import clean, ingest, sequences
from tests.landings import DAY, at, event, land, small_platform

PARAMS = load(PROJECT / "params.yaml")
pytestmark = pytest.mark.usefixtures("keep_spark")


def _take_in(night: Night):
    ingest.run(Ingest(batch_rows=1000), night)
    return clean.run(PARAMS.clean, night)


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(DAY, tmp_path / "night")


def test_rows_in_are_kept_plus_rejected_as_written(landing, night):
    small_platform(landing)
    land(
        landing,
        "events",
        DAY,
        [event(1, None, "v0", "view", at(DAY, 9)), event(2, "u0", "?", "view", at(DAY, 9))],
        "x.jsonl",
    )
    rows = _take_in(night).rows
    lake = Lake()
    assert rows.rows_in == lake.scan("events").num_rows
    assert rows.rejected == {"missing_user": 1, "unknown_video": 1}
    assert rows.kept == sum(lake.scan("interactions")["events"].to_pylist())


def test_a_second_run_changes_nothing_and_starts_no_spark(landing, night, monkeypatch):
    small_platform(landing)
    first = _take_in(night)
    monkeypatch.setattr(clean, "session", lambda name: pytest.fail("nothing is to be done"))
    again = clean.run(PARAMS.clean, night)
    assert (again.writes, again.facts["days"]) == (first.writes, [])


def test_a_late_event_joins_its_day_the_next_night(landing, night):
    small_platform(landing)
    before = _take_in(Night(DAY - timedelta(1), night.workspace)).facts["night"]["viewings"]
    late = event(999, "u0", "v7", "view", at(DAY - timedelta(1), 23), watch_ms=4000)
    land(landing, "events", DAY, [late], "late.jsonl")
    _take_in(night)
    assert Lake().scan("interactions", on(DAY - timedelta(1))).num_rows == before + 1


def test_running_a_day_again_replaces_that_day(landing, night):
    small_platform(landing)
    _take_in(night)
    land(landing, "events", DAY, [event(1, "u0", "v0", "view", at(DAY, 9), watch_ms=1)])
    _take_in(night)
    lake = Lake()
    assert lake.scan("interactions", on(DAY)).num_rows == 1
    assert lake.scan("interactions", on(DAY - timedelta(3))).num_rows == 18


def test_histories_are_made_for_the_night_and_the_two_days_before_and_only_when_needed(landing, night):
    small_platform(landing)
    _take_in(night)
    first = sequences.run(PARAMS.sequences, night)
    assert first.facts["days"] == [str(DAY - timedelta(n)) for n in (2, 1, 0)]
    table = Lake().scan("sequences", on(DAY - timedelta(1)))
    assert {len(videos) for videos in table["video_ids"].to_pylist()} == {9}
    assert sequences.run(PARAMS.sequences, night).facts["days"] == []
