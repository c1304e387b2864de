from datetime import date, timedelta

import pyarrow as pa
import pytest

from contracts import audits
from contracts.lake import Lake
from contracts.tables import LANDINGS

DAY = date(2026, 3, 5)
NEXT = DAY + timedelta(1)


def _land(day: date, *digests: str, kind: str = "events") -> None:
    row = {"kind": kind, "day": day, "path": "p", "rows": 1, "kept": 1, "rejected": 0}
    rows = pa.Table.from_pylist([row | {"digest": digest} for digest in digests], LANDINGS.schema)
    Lake().write("landings", rows, [{"day": day, "kind": kind}])


@pytest.mark.parametrize("outcome", ["passed", "warned"])
def test_a_night_that_passed_is_seen(outcome):
    _land(DAY, "a")
    audits.note(DAY, outcome)
    assert audits.lake_of(NEXT).without == frozenset()


def test_a_blocked_night_is_hidden_from_later_nights_and_not_from_itself():
    _land(DAY, "a")
    audits.note(DAY, "blocked")
    assert audits.lake_of(NEXT).without == {DAY}
    assert audits.lake_of(DAY).without == frozenset()
    audits.note(DAY, "passed")
    assert audits.lake_of(NEXT).without == frozenset()


def test_a_night_whose_event_files_changed_after_it_passed_is_hidden_until_it_is_checked_again():
    _land(DAY, "a")
    audits.note(DAY, "passed")
    _land(DAY, "bad")
    assert audits.lake_of(NEXT).without == {DAY}
    _land(DAY, "b", kind="videos")
    audits.note(DAY, "passed")
    _land(DAY, "c", kind="videos")  # a catalogue may be corrected at any time
    assert audits.lake_of(NEXT).without == frozenset()


def test_a_blocked_night_whose_events_were_withdrawn_hides_nothing():
    _land(DAY, "a")
    audits.note(DAY, "blocked")
    _land(DAY)
    assert audits.lake_of(NEXT).without == frozenset()


def test_a_night_that_was_never_checked_is_seen():
    _land(DAY, "a")
    assert audits.lake_of(NEXT).without == frozenset()
