from datetime import date, timedelta

import pyarrow as pa
import pytest

from core.tables import LANDINGS
from lake import audits
from lake.client import Lake

DAY = date(2026, 3, 5)
NEXT = DAY + timedelta(1)


def _land(day: date, *digests: str, kind: str = "events") -> None:
    row = {"kind": kind, "day": day, "path": "p", "rows": 1, "kept": 1, "rejected": 0}
    rows = pa.Table.from_pylist([row | {"digest": digest} for digest in digests], LANDINGS.schema)
    Lake().write("landings", rows, [{"day": day, "kind": kind}])


@pytest.mark.parametrize("outcome", ["passed", "warned"])
def test_a_passed_night_is_visible(outcome):
    _land(DAY, "a")
    audits.write_audit(DAY, outcome)
    assert audits.visible_lake(NEXT).hidden_days == frozenset()


def test_a_blocked_night_is_hidden_from_later_nights():
    _land(DAY, "a")
    audits.write_audit(DAY, "blocked")
    assert audits.visible_lake(NEXT).hidden_days == {DAY}
    assert audits.visible_lake(DAY).hidden_days == frozenset()
    audits.write_audit(DAY, "passed")
    assert audits.visible_lake(NEXT).hidden_days == frozenset()


def test_a_night_changed_after_its_check_is_hidden():
    _land(DAY, "a")
    audits.write_audit(DAY, "passed")
    _land(DAY, "bad")
    assert audits.visible_lake(NEXT).hidden_days == {DAY}
    _land(DAY, "b", kind="videos")
    audits.write_audit(DAY, "passed")
    _land(DAY, "c", kind="videos")  # a catalogue may be corrected at any time
    assert audits.visible_lake(NEXT).hidden_days == frozenset()


def test_a_blocked_night_without_events_hides_nothing():
    _land(DAY, "a")
    audits.write_audit(DAY, "blocked")
    _land(DAY)
    assert audits.visible_lake(NEXT).hidden_days == frozenset()


def test_a_day_without_a_night_of_its_own_is_visible():
    _land(DAY, "a")
    assert audits.visible_lake(NEXT).hidden_days == frozenset()


def test_a_night_that_has_begun_is_hidden_until_its_checks_end():
    audits.begin_audit(DAY)
    _land(DAY, "a")
    assert audits.visible_lake(DAY).hidden_days == frozenset()
    assert audits.visible_lake(NEXT).hidden_days == {DAY}
    audits.write_audit(DAY, "passed")
    assert audits.visible_lake(NEXT).hidden_days == frozenset()


@pytest.mark.parametrize(("outcome", "hidden"), [("passed", set()), ("blocked", {DAY})])
def test_a_night_that_begins_again_keeps_its_outcome(outcome, hidden):
    _land(DAY, "a")
    audits.write_audit(DAY, outcome)
    audits.begin_audit(DAY)
    assert audits.visible_lake(NEXT).hidden_days == hidden
