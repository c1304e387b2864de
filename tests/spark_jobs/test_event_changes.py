from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from core.config import CleanConfig, load_params
from core.paths import PROJECT_ROOT
from core.tables import EVENTS, LANDINGS
from lake.client import Lake
from spark_jobs.event_changes import events_digests, received_digests
from tests.support.landing_files import DAY

PARAMS: CleanConfig = load_params(PROJECT_ROOT / "params.yaml").clean
BEFORE = DAY - timedelta(1)
ALL = [DAY - timedelta(n) for n in range(PARAMS.late_days + 1)]


def _receive(file: str, event_days: Sequence[date], digest: str = "d", in_ledger: bool = True) -> None:
    """Add a file that was received on DAY, with an event of each of some days."""
    times = [datetime(day.year, day.month, day.day, 9, tzinfo=UTC) for day in event_days]
    events = [{"event_time": time, "day": DAY, "source_file": file} for time in times]
    rows = [dict.fromkeys(EVENTS.schema.names) | event for event in events]
    Lake().write("events", pa.Table.from_pylist(rows, EVENTS.schema))
    entry = {"kind": "events", "day": DAY, "path": file, "digest": digest}
    ledger = pa.Table.from_pylist([entry] if in_ledger else [], LANDINGS.schema)
    Lake().write("landings", ledger)


def test_a_new_file_changes_only_the_days_whose_events_it_holds():
    _receive("a", [DAY, BEFORE])
    before = events_digests(Lake(), PARAMS, DAY, ALL)
    assert sorted(before) == [BEFORE, DAY]
    _receive("b", [BEFORE], "e")
    after = events_digests(Lake(), PARAMS, DAY, ALL)
    assert (after[DAY] == before[DAY], after[BEFORE] == before[BEFORE]) == (True, False)
    assert events_digests(Lake(), PARAMS, DAY, [DAY]) == {DAY: after[DAY]}


def test_events_that_are_too_late_belong_to_the_day_they_were_received():
    _receive("a", [DAY - timedelta(PARAMS.late_days + 1), DAY + timedelta(9)])
    assert list(events_digests(Lake(), PARAMS, DAY, ALL)) == [DAY]


def test_events_of_an_interrupted_ingest_change_the_day():
    _receive("a", [DAY], in_ledger=False)
    before = events_digests(Lake(), PARAMS, DAY, ALL)
    _receive("a", [])
    assert events_digests(Lake(), PARAMS, DAY, ALL) != before


def test_files_received_after_the_night_do_not_count():
    _receive("a", [DAY, BEFORE])
    assert events_digests(Lake(), PARAMS, BEFORE, ALL) == received_digests(Lake(), PARAMS, BEFORE) == {}


def test_a_new_file_changes_the_received_digest_of_every_day_that_it_may_hold_events_of():
    _receive("a", [DAY])
    before = received_digests(Lake(), PARAMS, DAY)
    _receive("b", [DAY], "e")
    after = received_digests(Lake(), PARAMS, DAY)
    assert sorted(before) == sorted(after) == sorted(ALL)
    assert not before.items() & after.items()


def test_parameters_are_part_of_both_digests():
    _receive("a", [DAY])
    other = replace(PARAMS, max_replays=PARAMS.max_replays + 1)
    for digests in (received_digests, lambda *arguments: events_digests(*arguments, ALL)):
        assert digests(Lake(), PARAMS, DAY)[DAY] != digests(Lake(), other, DAY)[DAY]
