from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import hashing
from core.config import IngestConfig, load_params
from core.paths import PROJECT_ROOT, Night
from core.tables import EVENTS, INTERACTIONS, LANDINGS, REJECTS, VIDEOS, TableSpec
from lake import audits
from lake.client import Lake, on_days, up_to_day
from spark_jobs import clean as kernels
from spark_jobs import exchange
from spark_jobs.cleaned_days import cleaned_days
from tasks import clean, ingest
from tests.support.landing_files import DAY, at, event, land, small_platform

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
pytestmark = pytest.mark.usefixtures("keep_spark")


def _ingest_and_clean(night: Night):
    """Run both steps of a night that passes its checks."""
    ingest.run(IngestConfig(batch_rows=1000, max_record_kib=64, max_file_mib=64), night)
    run_manifest = clean.run(PARAMS.clean, night)
    audits.write_audit(night.day, "passed")
    return run_manifest


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(DAY, tmp_path / "night")


def test_rows_in_are_kept_plus_rejected(landing, night):
    small_platform(landing)
    land(
        landing,
        "events",
        DAY,
        [event(1, None, "v0", "view", at(DAY, 9)), event(2, "u0", "?", "view", at(DAY, 9))],
        "x.jsonl",
    )
    rows = _ingest_and_clean(night).row_counts
    lake = Lake()
    assert rows.rows_in == lake.scan("events").num_rows
    assert rows.rejected == {"missing_user": 1, "unknown_video": 1}
    assert rows.kept == sum(lake.scan("interactions")["events"].to_pylist())


def test_a_second_run_changes_nothing_and_starts_no_task(landing, night, monkeypatch):
    small_platform(landing)
    first = _ingest_and_clean(night)
    monkeypatch.setattr(clean, "task_scheduler", lambda *_: pytest.fail("nothing is to be done"))
    again = clean.run(PARAMS.clean, night)
    assert (again.writes, again.facts["days"]) == (first.writes, [])


def test_a_late_event_joins_its_day_the_next_night(landing, night):
    small_platform(landing)
    before = _ingest_and_clean(Night(DAY - timedelta(1), night.workspace)).facts["night"]["interactions"]
    late = event(999, "u0", "v7", "view", at(DAY - timedelta(1), 23), watch_ms=4000)
    land(landing, "events", DAY, [late], "late.jsonl")
    _ingest_and_clean(night)
    assert Lake().scan("interactions", on_days(DAY - timedelta(1))).num_rows == before + 1


def test_only_the_days_that_new_files_hold_events_of_are_cleaned(landing, night):
    small_platform(landing)
    _ingest_and_clean(night)
    late = event(900, "u0", "v7", "view", at(DAY - timedelta(2), 23), watch_ms=4000)
    land(landing, "events", DAY, [late], "late.jsonl")
    assert _ingest_and_clean(night).facts["days"] == [str(DAY - timedelta(2))]
    tomorrow = Night(DAY + timedelta(1), night.workspace)
    land(landing, "events", tomorrow.day, [event(901, "u0", "v7", "view", at(tomorrow.day, 9))])
    assert _ingest_and_clean(tomorrow).facts["days"] == [str(tomorrow.day)]
    assert clean.run(PARAMS.clean, tomorrow).facts["days"] == []


def test_a_large_night_has_the_same_tables_on_spark(landing, night, monkeypatch, tmp_path):
    small_platform(landing)
    land(landing, "events", DAY, [event(900, None, "v0", "view", at(DAY, 9))], "more.jsonl")
    rows = []
    for folder, max_bytes in (("in-process", exchange.MAX_BYTES_IN_PROCESS), ("spark", -1)):
        monkeypatch.setenv("UNDERCURRENT_WAREHOUSE", str(tmp_path / folder))
        monkeypatch.setenv("UNDERCURRENT_CATALOG_URI", f"sqlite:///{tmp_path / folder}.db")
        monkeypatch.setattr(exchange, "MAX_BYTES_IN_PROCESS", max_bytes)
        _ingest_and_clean(night)
        tables = [Lake().scan(name).to_pylist() for name in ("interactions", "rejects")]
        rows.append([sorted(map(str, table)) for table in tables])
    assert rows[0] == rows[1]


def test_running_a_day_again_replaces_that_day(landing, night):
    small_platform(landing)
    _ingest_and_clean(night)
    land(landing, "events", DAY, [event(1, "u0", "v0", "view", at(DAY, 9), watch_ms=1)])
    _ingest_and_clean(night)
    lake = Lake()
    assert lake.scan("interactions", on_days(DAY)).num_rows == 1
    assert lake.scan("interactions", on_days(DAY - timedelta(3))).num_rows == 18


def _rejects(day=DAY):
    return Lake().scan("rejects", on_days(day)).to_pylist()


def _input_digests() -> dict[str, str]:
    return {str(day): cleaned.input_digest for day, cleaned in cleaned_days(Lake()).items()}


def _events_of(video: str, day=DAY) -> int:
    rows = Lake().scan("interactions", on_days(day)).to_pylist()
    return sum(row["events"] for row in rows if row["video_id"] == video)


def test_a_late_video_restores_its_events(landing, night):
    dates = small_platform(landing)
    unknown = [event(900 + n, "u0", "late", "view", at(dates[0], 9, n)) for n in range(3)]
    land(landing, "events", dates[0], unknown, "more.jsonl")
    _ingest_and_clean(night)
    assert {row["reason"] for row in _rejects(dates[0])} == {"unknown_video"}
    before = _input_digests()
    tomorrow = Night(DAY + timedelta(1), night.workspace)
    land(landing, "events", tomorrow.day, [event(990, "u1", "v0", "view", at(tomorrow.day, 9))])
    land(landing, "videos", tomorrow.day, [{"video_id": "late", "duration_ms": 9000}])
    run_manifest = _ingest_and_clean(tomorrow)
    again = {str(dates[0]), str(tomorrow.day)}
    assert set(run_manifest.facts["days"]) == again
    assert (_rejects(dates[0]), _events_of("late", dates[0])) == ([], 3)
    after = _input_digests()
    assert {day for day in after if before.get(day) != after[day]} == again


def test_a_late_video_is_found_in_rejects_whatever_its_name(landing, night):
    small_platform(landing)
    name = 'a "b" \\ c\t😍'
    land(landing, "events", DAY, [event(900, "u0", name, "view", at(DAY, 9))], "more.jsonl")
    _ingest_and_clean(night)
    land(landing, "videos", DAY, [{"video_id": name}], "repair.jsonl")
    assert _ingest_and_clean(night).facts["days"] == [str(DAY)]
    assert (_rejects(), _events_of(name)) == ([], 1)


def test_a_video_of_a_repair_restores_its_events(landing, night):
    small_platform(landing)
    land(landing, "events", DAY, [event(900, "u0", "late", "view", at(DAY, 9))], "more.jsonl")
    _ingest_and_clean(night)
    land(landing, "videos", DAY, [{"video_id": "late"}], "repair.jsonl")
    assert _ingest_and_clean(night).facts["days"] == [str(DAY)]
    assert (_rejects(), _events_of("late")) == ([], 1)


def test_a_corrected_duration_changes_the_watch_ratios(landing, night):
    dates = small_platform(landing)
    land(landing, "videos", dates[0], [{"video_id": "rare", "duration_ms": 10_000}], "rare.jsonl")
    land(
        landing,
        "events",
        dates[1],
        [event(900, "u0", "rare", "view", at(dates[1], 20), watch_ms=5000)],
        "x.jsonl",
    )
    _ingest_and_clean(night)
    land(landing, "videos", DAY, [{"video_id": "rare", "duration_ms": 50_000}], "corrected.jsonl")
    assert _ingest_and_clean(night).facts["days"] == [str(dates[1])]
    (row,) = [r for r in Lake().scan("interactions").to_pylist() if r["video_id"] == "rare"]
    assert row["watch_ratio"] == 0.1


def test_an_earlier_night_knows_only_its_own_catalogue(landing, night):
    small_platform(landing)
    land(landing, "events", DAY, [event(900, "u0", "late", "view", at(DAY, 9))], "more.jsonl")
    land(landing, "events", DAY + timedelta(1), [event(990, "u1", "v0", "view", at(DAY + timedelta(1), 9))])
    land(landing, "videos", DAY + timedelta(1), [{"video_id": "late"}])
    _ingest_and_clean(Night(DAY + timedelta(1), night.workspace))
    assert _events_of("late") == 1
    _ingest_and_clean(night)
    assert _events_of("late") == 0


def test_a_new_video_without_events_cleans_no_day(landing, night):
    small_platform(landing)
    _ingest_and_clean(night)
    land(landing, "videos", DAY, [{"video_id": "new"}], "new.jsonl")
    assert _ingest_and_clean(night).facts["days"] == []


def test_a_day_with_withdrawn_events_has_no_interactions(landing, night):
    dates = small_platform(landing)
    _ingest_and_clean(night)
    (landing / "events" / f"dt={dates[0]}" / "part-0.jsonl").unlink()
    _ingest_and_clean(night)
    assert Lake().scan("interactions", on_days(dates[0])).num_rows == 0


def test_a_first_night_without_readable_events_cleans_nothing(landing, night):
    small_platform(landing, days=1)
    land(landing, "events", DAY, ["{broken\n"])
    run_manifest = _ingest_and_clean(night)
    assert (run_manifest.row_counts.rows_in, run_manifest.facts["night"]["interactions"]) == (0, 0)


def test_the_next_night_does_not_see_a_blocked_night(landing, night):
    small_platform(landing)
    yesterday = DAY - timedelta(1)
    late = event(990, "u0", "v7", "view", at(DAY - timedelta(2), 23), watch_ms=4000)
    land(landing, "events", yesterday, [late], "late.jsonl")
    land(landing, "videos", yesterday, [{"video_id": "v0", "duration_ms": 100_000}], "bad.jsonl")
    _ingest_and_clean(Night(yesterday, night.workspace))
    joined = Lake().scan("interactions", on_days(DAY - timedelta(2))).num_rows
    audits.write_audit(yesterday, "blocked")
    run_manifest = _ingest_and_clean(night)
    assert run_manifest.facts["missing_days"] == [str(yesterday)]
    seen = audits.visible_lake(DAY)
    assert seen.scan("interactions", on_days(yesterday)).num_rows == 0
    assert seen.scan("interactions", on_days(DAY - timedelta(2))).num_rows == joined - 1
    ratios = [r["watch_ratio"] for r in seen.scan("interactions").to_pylist() if r["video_id"] == "v0"]
    assert max(ratios) > 0.1  # by the duration that is not of the blocked night
    audits.write_audit(yesterday, "passed")
    _ingest_and_clean(night)
    assert audits.visible_lake(DAY).scan("interactions", on_days(DAY - timedelta(2))).num_rows == joined


def test_a_blocked_day_keeps_its_interactions(landing, night):
    small_platform(landing)
    yesterday = DAY - timedelta(1)
    _ingest_and_clean(Night(yesterday, night.workspace))
    before = Lake().scan("interactions", on_days(yesterday)).num_rows
    audits.write_audit(yesterday, "blocked")
    assert str(yesterday) not in _ingest_and_clean(night).facts["days"]
    assert Lake().scan("interactions", on_days(yesterday)).num_rows == before > 0


def test_a_correction_during_a_run_is_not_lost(landing, night, monkeypatch):
    small_platform(landing)
    land(landing, "events", DAY, [event(900, "u0", "late", "view", at(DAY, 9))], "more.jsonl")
    commit = clean._commit

    def meanwhile(*arguments):
        land(landing, "videos", DAY, [{"video_id": "late"}], "repair.jsonl")
        ingest.run(IngestConfig(batch_rows=1000, max_record_kib=64, max_file_mib=64), night)
        return commit(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(clean, "_commit", meanwhile)
        _ingest_and_clean(night)
    assert _events_of("late") == 0
    clean.run(PARAMS.clean, night)
    assert _events_of("late") == 1


def test_the_last_night_run_decides_the_catalogue_of_a_day(landing, night):
    """A duration is 10 s on the first night, 50 s on the second and 10 s again on the third."""
    dates = small_platform(landing)
    nights = [Night(dates[0] + timedelta(n), night.workspace) for n in (1, 2, 3)]
    for one, seconds in zip(nights, (10, 50, 10), strict=True):
        land(landing, "videos", one.day, [{"video_id": "rare", "duration_ms": 1000 * seconds}], "rare.jsonl")
        views = [event(900 + seconds + one.day.day, "u0", "rare", "view", at(one.day, 20), watch_ms=5000)]
        land(landing, "events", one.day, views, "rare-views.jsonl")
    for n in (0, 1, 2, 1, 0, 2):
        _ingest_and_clean(nights[n])
    ratios = {
        row["watch_ratio"] for row in Lake().scan("interactions").to_pylist() if row["video_id"] == "rare"
    }
    assert ratios == {0.5}


def test_a_video_of_a_repaired_night_restores_later_events(landing, night):
    small_platform(landing)
    yesterday = Night(DAY - timedelta(1), night.workspace)
    land(landing, "videos", yesterday.day, [{"video_id": "late"}], "new.jsonl")
    land(landing, "events", DAY, [event(900, "u0", "late", "view", at(DAY, 9))], "more.jsonl")
    _ingest_and_clean(yesterday)
    audits.write_audit(yesterday.day, "blocked")
    _ingest_and_clean(night)
    assert {row["reason"] for row in _rejects()} == {"unknown_video"}
    _ingest_and_clean(yesterday)
    audits.write_audit(yesterday.day, "passed")
    _ingest_and_clean(night)
    assert (_rejects(), _events_of("late")) == ([], 1)


def test_an_event_near_midnight_moves_with_its_file(landing, night):
    dates = small_platform(landing)
    early = at(DAY, 0, 5)  # received the day before by a clock that runs ahead
    path = land(landing, "events", dates[-2], [event(900, "u0", "v7", "view", early)], "early.jsonl")
    _ingest_and_clean(night)
    path.rename(landing / "events" / f"dt={DAY}" / "early.jsonl")
    _ingest_and_clean(night)
    rows = Lake().scan("interactions").to_pylist()
    assert [row["day"] for row in rows if row["started_at"].hour == 0] == [DAY]


def test_a_run_killed_between_commits_is_repeated(landing, night, monkeypatch):
    small_platform(landing)
    _ingest_and_clean(night)
    num_rows = Lake().scan("interactions").num_rows
    good = landing / "events" / f"dt={DAY}" / "part-0.jsonl"
    text = good.read_text()
    land(landing, "events", DAY, [event(900, None, "v0", "view", at(DAY, 9))])
    commit = Lake.commit

    def killed(self, name, *arguments):
        commit(self, name, *arguments)
        if name == "rejects":
            raise KeyboardInterrupt

    ingest.run(IngestConfig(batch_rows=1000, max_record_kib=64, max_file_mib=64), night)
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            clean.run(PARAMS.clean, night)
    good.write_text(text)
    _ingest_and_clean(night)
    assert Lake().scan("interactions").num_rows == num_rows
    assert _rejects() == []


def test_a_run_killed_while_it_withdraws_a_day_is_repeated(landing, night, monkeypatch):
    dates = small_platform(landing)
    _ingest_and_clean(night)
    (landing / "events" / f"dt={dates[0]}" / "part-0.jsonl").unlink()
    commit = Lake.commit

    def killed(self, name, *arguments):
        if name == "rejects":
            raise KeyboardInterrupt
        return commit(self, name, *arguments)

    ingest.run(PARAMS.ingest, night)
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            clean.run(PARAMS.clean, night)
    assert clean.run(PARAMS.clean, night).facts["days"] == [str(dates[0])]
    assert Lake().scan("interactions", on_days(dates[0])).num_rows == 0
    assert clean.run(PARAMS.clean, night).facts["days"] == []


def test_events_of_a_withdrawn_video_make_no_bot(landing, night):
    small_platform(landing)
    path = land(landing, "videos", DAY, [{"video_id": "gone"}], "gone.jsonl")
    many = [event(900 + n, "u9", "gone" if n < 4 else "v0", "view", at(DAY, 9, n)) for n in range(7)]
    land(landing, "events", DAY, many, "many.jsonl")
    params = replace(PARAMS.clean, bot_events_per_hour=5)
    ingest_config = IngestConfig(batch_rows=1000, max_record_kib=64, max_file_mib=64)
    ingest.run(ingest_config, night)
    clean.run(params, night)
    assert [row["reason"] for row in _rejects()] == ["suspected_bot"] * 7
    path.unlink()
    ingest.run(ingest_config, night)
    clean.run(params, night)
    assert [row["reason"] for row in _rejects()] == ["unknown_video"] * 4


# The rest writes the received rows without ingest, to try many nights.


def _received(user: str | None, video: str, kind: str, days_late: int, minute: int) -> dict[str, Any]:
    plain = {"user_id": user, "video_id": video, "event_type": kind, "watch_ms": 1000 * minute}
    return plain | {"days_late": days_late, "minute": minute}


FILES = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["events", "events", "events", "videos"]),
        "name": st.sampled_from("ab"),
        "day": st.integers(0, 3).map(lambda days: DAY - timedelta(days)),
        "events": st.lists(
            st.builds(
                _received,
                user=st.sampled_from(["u", "u", "w", None]),
                video=st.sampled_from("vwx"),
                kind=st.sampled_from(["view", "like", "impression"]),
                days_late=st.sampled_from([0, 0, 1, 2, 3, -1]),
                minute=st.integers(0, 3),
            ),
            max_size=5,
        ),
        "durations": st.dictionaries(st.sampled_from("vwx"), st.sampled_from([None, 400, 9000])),
        "night": st.integers(0, 2).map(lambda days: DAY - timedelta(days)),
    }
)
State = Mapping[tuple[str, date, str], Sequence[dict[str, Any]]]  # kind, day, file -> its rows


def _file_rows(change: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a changed file. A file without rows is withdrawn."""
    day, source = change["day"], {"day": change["day"], "source_file": change["name"]}
    if change["kind"] == "videos":
        rows = [{"video_id": video, "duration_ms": ms} for video, ms in change["durations"].items()]
        return [row | source | {"source_line": line} for line, row in enumerate(rows)]
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return [
        {name: value for name, value in event.items() if name in EVENTS.schema.names}
        | {"event_time": midnight + timedelta(minutes=event["minute"]) - timedelta(event["days_late"])}
        | {"event_id": f"e{event['minute']}{event['event_type']}", "source_line": line}
        | source
        for line, event in enumerate(change["events"])
    ]


def _rows(state: State, kind: str, until: date, spec: TableSpec) -> pa.Table:
    rows = [row for (k, day, _), rows in state.items() if k == kind and day <= until for row in rows]
    return pa.Table.from_pylist([dict.fromkeys(spec.schema.names) | row for row in rows], spec.schema)


def _replace_day(state: State, kind: str, day: date) -> None:
    """Write the files of a day as ingest does."""
    of_day = {key: rows for key, rows in state.items() if key[:2] == (kind, day)}
    spec = EVENTS if kind == "events" else VIDEOS
    Lake().write(kind, _rows(of_day, kind, day, spec), [{"day": day}])
    ledger = [
        {"kind": kind, "day": day, "path": name, "digest": hashing.hash_lines([str(rows)])}
        for (_, _, name), rows in of_day.items()
        if rows
    ]
    Lake().write("landings", pa.Table.from_pylist(ledger, LANDINGS.schema), [{"day": day, "kind": kind}])


def _full_build(state: State, until: date) -> dict[str, list[str]]:
    """Return table -> its rows, cleaned at once from all that was received up to a night."""
    events = pl.DataFrame(_rows(state, "events", until, EVENTS))
    videos = pl.DataFrame(_rows(state, "videos", until, VIDEOS))
    newest = videos.sort("day", "source_file", "source_line").group_by("video_id", maintain_order=True).last()
    dated = kernels.with_partition_day(events, PARAMS.clean)
    labelled = kernels.with_row_reason(dated, newest.select("video_id", "duration_ms"), PARAMS.clean)
    reasoned = kernels.with_user_reason(labelled, PARAMS.clean)
    is_valid = pl.col("reason").is_null()
    tables = {
        "interactions": (kernels.interactions(reasoned.filter(is_valid), PARAMS.clean), INTERACTIONS),
        "rejects": (kernels.rejects(reasoned.filter(~is_valid)), REJECTS),
    }
    return {
        name: sorted(map(str, rows.select(spec.schema.names).to_arrow().cast(spec.schema).to_pylist()))
        for name, (rows, spec) in tables.items()
    }


def _stored(until: date) -> dict[str, list[str]]:
    tables = {name: Lake().scan(name, up_to_day(until)).to_pylist() for name in ("interactions", "rejects")}
    return {name: sorted(map(str, rows)) for name, rows in tables.items()}


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(FILES, min_size=1, max_size=5))
def test_nights_in_any_order_have_the_tables_of_a_full_build(tmp_path_factory, monkeypatch, changes):
    monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path_factory.mktemp("home")))
    state: dict[tuple[str, date, str], Sequence[dict[str, Any]]] = {}
    for change in changes:
        state[change["kind"], change["day"], change["name"]] = _file_rows(change)
        _replace_day(state, change["kind"], change["day"])
        night = Night(change["night"], tmp_path_factory.mktemp("night"))
        clean.run(PARAMS.clean, night)
        assert _stored(night.day) == _full_build(state, night.day)
        assert clean.run(PARAMS.clean, night).facts["days"] == []
