import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import hashing
from core.config import IngestConfig, SequencesConfig, load_params
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from core.tables import BEHAVIOURS, INTERACTIONS, LANDINGS
from features.item_statistics import item_statistics
from lake import audits
from lake.client import Lake, on_days, up_to_day
from lake.data_files import list_data_files
from lake.maintenance import compact
from spark_jobs import exchange
from tasks import clean, ingest, sequences
from tests.support.landing_files import DAY, at, event, land, small_platform

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
pytestmark = pytest.mark.usefixtures("keep_spark")


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(DAY, tmp_path / "night")


def _clean_days(landing: Path, night: Night, days: int) -> None:
    small_platform(landing, days)
    ingest.run(IngestConfig(batch_rows=1000, max_record_kib=64, max_file_mib=64), night)
    clean.run(PARAMS.clean, night)
    audits.write_audit(night.day, "passed")


def _run(night: Night, validation_days: int = 2) -> Mapping:
    return sequences.run(replace(PARAMS.sequences, validation_days=validation_days), night).facts


def _days_before(days: int) -> str:
    return str(DAY - timedelta(days))


def test_sequences_are_built_for_each_fold_when_needed(landing, night):
    _clean_days(landing, night, days=4)
    facts = _run(night)
    assert facts["folds"] == {"valid_1": _days_before(2), "valid_2": _days_before(1), "test": str(DAY)}
    assert facts["days"] == [_days_before(days) for days in (3, 2, 1, 0)]
    for known_days, days_ago in ((1, 3), (2, 2), (3, 1)):
        table = Lake().scan("sequences", on_days(DAY - timedelta(days_ago)))
        assert {len(videos) for videos in table["video_ids"].to_pylist()} == {3 * known_days}
    assert _run(night)["days"] == []


def test_validation_days_set_the_number_of_validation_folds(landing, night):
    _clean_days(landing, night, days=4)
    assert _run(night, validation_days=1)["folds"] == {"valid_1": _days_before(1), "test": str(DAY)}
    facts = _run(night, validation_days=2)
    assert list(facts["folds"]) == ["valid_1", "valid_2", "test"]
    assert facts["days"] == [_days_before(3)]  # the other days are built already


@pytest.mark.parametrize("days", [2, 3, 4])
def test_a_short_history_has_fewer_validation_days_and_a_training_day(landing, night, days):
    _clean_days(landing, night, days)
    folds = _run(night, validation_days=9)["folds"]
    assert len(folds) - 1 == max(days - 2, 1)
    assert folds["valid_1"] == _days_before(max(days - 2, 1))


def test_a_blocked_day_is_no_validation_day(landing, night):
    _clean_days(landing, night, days=4)
    audits.write_audit(DAY - timedelta(1), "blocked")
    assert _run(night)["folds"] == {"valid_1": _days_before(2), "test": str(DAY)}


def test_sequences_without_interactions_are_refused(night):
    with pytest.raises(InputError, match=f"no interactions up to {DAY} are in the lake"):
        sequences.run(PARAMS.sequences, night)


def _ingest_and_clean(night: Night) -> None:
    ingest.run(IngestConfig(batch_rows=1000, max_record_kib=64, max_file_mib=64), night)
    clean.run(PARAMS.clean, night)


def test_the_next_night_continues_the_sequences(landing, night):
    _clean_days(landing, night, days=4)
    assert _run(night)["continued_from"] is None
    tomorrow = Night(DAY + timedelta(1), night.workspace)
    land(landing, "events", tomorrow.day, [event(900, "u0", "v0", "view", at(tomorrow.day, 9))])
    _ingest_and_clean(tomorrow)
    facts = _run(tomorrow)
    assert (facts["days"], facts["continued_from"]) == ([str(tomorrow.day)], str(DAY))


def test_late_events_rebuild_their_day_and_the_later_ones(landing, night):
    _clean_days(landing, night, days=4)
    _run(night)
    late = event(900, "u0", "v7", "view", at(DAY - timedelta(1), 23))
    land(landing, "events", DAY, [late], "late.jsonl")
    _ingest_and_clean(night)
    facts = _run(night)
    assert facts["days"] == [_days_before(days) for days in (1, 0)]
    assert facts["continued_from"] == _days_before(2)


def test_a_large_night_has_the_same_sequences_on_spark(landing, night, monkeypatch):
    _clean_days(landing, night, days=4)
    rows = []
    for max_bytes in (exchange.MAX_BYTES_IN_PROCESS, -1):
        monkeypatch.setattr(exchange, "MAX_BYTES_IN_PROCESS", max_bytes)
        days = [DAY - timedelta(n) for n in range(4)]
        Lake().commit("sequences", [{"day": day} for day in days], [], {str(day): None for day in days})
        assert len(_run(night)["days"]) == 4
        rows.append(sorted(map(str, Lake().scan("sequences").to_pylist())))
    assert rows[0] == rows[1]


def test_playback_events_reach_the_sequences_in_one_process_and_on_spark(landing, night, monkeypatch):
    small_platform(landing)
    kinds = ("impression", "pause", "pause", "replay", "view", "swipe", "scroll")
    log = [event(900 + n, "new", "v0", kind, at(DAY, 9, 0, n), watch_ms=500) for n, kind in enumerate(kinds)]
    land(landing, "events", DAY, log, "playback.jsonl")
    columns = ("pauses", "replays", "swipes", "viewed", "events")
    for max_bytes in (exchange.MAX_BYTES_IN_PROCESS, -1):
        monkeypatch.setattr(exchange, "MAX_BYTES_IN_PROCESS", max_bytes)
        for table in ("interactions", "sequences"):
            Lake().commit(table, [], [], {_days_before(n): None for n in range(4)})
        _ingest_and_clean(night)
        audits.write_audit(night.day, "passed")
        _run(night)
        (row,) = [row for row in Lake().scan("interactions").to_pylist() if row["user_id"] == "new"]
        assert [row[name] for name in columns] == [2, 1, 1, True, 6]
        (reject,) = Lake().scan("rejects").to_pylist()
        assert (reject["reason"], reject["source_line"]) == ("unknown_event_type", 7)
        stored = Lake().scan("sequences", on_days(DAY)).to_pylist()
        (bits,) = [row["behaviours"] for row in stored if row["user_id"] == "new"]
        assert bits == [1 | 0b111 << len(BEHAVIOURS)]


def test_sequences_whose_files_are_gone_are_not_continued(landing, night):
    _clean_days(landing, night, days=4)
    _run(night)
    lake = Lake()
    lake.commit("sequences", [{"day": DAY - timedelta(n)} for n in range(1, 4)], [], {str(DAY): None})
    facts = _run(night)
    assert (facts["days"], facts["continued_from"]) == ([str(DAY)], None)


def _statistics(night: Night) -> dict[str, tuple[int, float | None, int]]:
    """Return video -> number of interactions, mean sentiment and comments, as `snapshot` sums them."""
    videos = pa.chunked_array([["a-new-one", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7"]])
    table = item_statistics(audits.visible_lake(night.day), videos, {"all": night.day})["all"]
    return dict(zip(videos.to_pylist(), map(tuple, map(dict.values, table.to_pylist())), strict=True))


def test_only_days_with_new_files_are_counted(landing, night):
    _clean_days(landing, night, days=4)
    assert _run(night)["counted_days"] == [_days_before(days) for days in (3, 2, 1, 0)]
    before = _statistics(night)
    assert _run(night)["counted_days"] == []
    late = event(900, "u0", "v7", "view", at(DAY - timedelta(1), 23))
    land(landing, "events", DAY, [late], "late.jsonl")
    _ingest_and_clean(night)
    assert _run(night)["counted_days"] == [_days_before(1)]
    assert _statistics(night) == before | {"v7": (before["v7"][0] + 1, *before["v7"][1:])}


def test_a_large_night_has_the_same_item_statistics_on_spark(landing, night, monkeypatch):
    _clean_days(landing, night, days=4)
    _run(night)
    rows = sorted(map(str, Lake().scan("item_statistics").to_pylist()))
    days = [DAY - timedelta(n) for n in range(4)]
    Lake().commit("item_statistics", [{"day": day} for day in days], [], {str(day): None for day in days})
    monkeypatch.setattr(exchange, "MAX_BYTES_IN_PROCESS", -1)
    assert len(_run(night)["counted_days"]) == 4
    assert sorted(map(str, Lake().scan("item_statistics").to_pylist())) == rows


# The rest builds nights without Spark, to try many of them.

FIRST_DAY = DAY - timedelta(9)
VALUES = ("started_at", "video_id", "watch_ratio", "bits", "comment_sentiment", "utc_offset_minutes")
COLUMNS = (
    "started_at",
    "video_ids",
    "watch_ratios",
    "behaviours",
    "comment_sentiments",
    "utc_offset_minutes",
)


def _interaction(user: str, video: str, second: int, liked: bool, ratio: float | None) -> dict[str, Any]:
    row = dict.fromkeys(INTERACTIONS.schema.names) | dict.fromkeys(BEHAVIOURS, False)
    return row | {"user_id": user, "video_id": video, "second": second, "liked": liked, "watch_ratio": ratio}


INTERACTION = st.builds(
    _interaction,
    user=st.sampled_from("abc"),
    video=st.sampled_from("vw"),
    second=st.sampled_from([-1, 0, 1, 86_399]),
    liked=st.booleans(),
    ratio=st.sampled_from([None, 0.5, 1.0]),
)
CHANGE = st.fixed_dictionaries(
    {
        "day": st.integers(0, 4).map(lambda days: DAY - timedelta(days)),
        "rows": st.lists(INTERACTION, max_size=6),
        "outcome": st.sampled_from(["passed", "passed", "blocked"]),
        "night": st.integers(0, 2).map(lambda days: DAY - timedelta(days)),
    }
)


def _interactions(day: date, rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return the interactions of a day. An event may happen a second before or after its day."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    starts = [midnight + timedelta(seconds=row["second"]) for row in rows]
    written = [{**row, "day": day, "started_at": start} for row, start in zip(rows, starts, strict=True)]
    return pa.Table.from_pylist(written, INTERACTIONS.schema)


def _write_day(day: date, rows: Sequence[dict[str, Any]]) -> None:
    """Replace a day's interactions as `clean` does."""
    table = _interactions(day, rows)
    digest = hashing.hash_lines([str(table.to_pylist())])
    Lake().write("interactions", table, [{"day": day}], {str(day): f"{digest}|key"})


def _write_landings(days: Sequence[date]) -> None:
    rows = [dict.fromkeys(LANDINGS.schema.names) | {"kind": "events", "day": day} for day in days]
    rows = [row | {"digest": str(row["day"])} for row in rows]
    Lake().write("landings", pa.Table.from_pylist(rows, LANDINGS.schema))


def _full_build(night: date, day: date, max_length: int) -> dict[str, list[tuple]]:
    """Return user -> newest interactions at the end of a day, from all that the night may see."""
    values: dict[str, list[tuple]] = {}
    for row in audits.visible_lake(night).scan("interactions").to_pylist():
        row["bits"] = sum(row[name] << position for position, name in enumerate(BEHAVIOURS))
        if row["day"] <= day and row["bits"]:
            values.setdefault(row["user_id"], []).append(tuple(row[name] for name in VALUES))
    order = lambda interaction: [(value is not None, value) for value in interaction]  # noqa: E731
    return {user: sorted(interactions, key=order)[-max_length:] for user, interactions in values.items()}


def _stored(day: date) -> dict[str, list[tuple]]:
    rows = Lake().scan("sequences", on_days(day)).to_pylist()
    assert len(rows) == len({row["user_id"] for row in rows})
    return {row["user_id"]: list(zip(*(row[name] for name in COLUMNS), strict=True)) for row in rows}


@pytest.fixture
def several_buckets(monkeypatch):
    monkeypatch.setattr(sequences, "count_buckets", lambda scheduler, paths: 1 + len(paths) % 3)


@pytest.mark.parametrize("has_other_buckets", [False, True])
def test_continued_sequences_are_split_only_into_other_buckets(night, monkeypatch, has_other_buckets):
    rows = [_interaction(f"u{n}", "v", n, True, None) for n in range(30)]
    _write_landings([DAY - timedelta(n) for n in range(6)])
    for days in range(6):
        _write_day(DAY - timedelta(days), rows)
    monkeypatch.setattr(sequences, "count_buckets", lambda scheduler, paths: 3)
    _run(Night(DAY - timedelta(1), night.workspace))
    split, split_by_user = [], sequences.split_by_user
    monkeypatch.setattr(
        sequences, "split_by_user", lambda *args: split.append(args[2]) or split_by_user(*args)
    )
    if has_other_buckets:
        monkeypatch.setattr(sequences, "count_buckets", lambda scheduler, paths: 7)
    assert _run(night)["continued_from"]
    assert (sequences.stored_sequences in split) == has_other_buckets
    assert len(Lake().data_files("sequences", on_days(DAY))) == (7 if has_other_buckets else 3)
    assert _stored(DAY) == _full_build(DAY, DAY, PARAMS.sequences.max_length)


def test_sequences_of_changed_days_are_not_continued(several_buckets, night):
    _write_landings([DAY - timedelta(n) for n in range(6)])
    for days in range(6):
        _write_day(DAY - timedelta(days), [_interaction("a", "v", days, True, None)])
    _run(Night(DAY - timedelta(2), night.workspace))
    _write_day(DAY - timedelta(4), [_interaction("b", "w", 0, True, None)])
    assert _run(night, validation_days=1)["continued_from"] == _days_before(5)
    assert _stored(DAY) == _full_build(DAY, DAY, PARAMS.sequences.max_length)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(CHANGE, min_size=1, max_size=6), max_length=st.integers(1, 4))
def test_continued_sequences_are_those_of_a_full_build(
    several_buckets, tmp_path_factory, monkeypatch, changes, max_length
):
    monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path_factory.mktemp("home")))
    params = SequencesConfig(max_length=max_length, validation_days=2)
    _write_landings([DAY - timedelta(n) for n in range(5)])
    _write_day(FIRST_DAY, [_interaction("a", "v", 0, True, None)])
    for change in changes:
        _write_day(change["day"], change["rows"])
        audits.write_audit(change["day"], change["outcome"])
        night = Night(change["night"], tmp_path_factory.mktemp("night"))
        manifest = sequences.run(params, night)
        for day in map(date.fromisoformat, manifest.digests):
            assert _stored(day) == _full_build(night.day, day, max_length), day


COMMENTED = st.builds(
    lambda video, viewed, sentiment: (
        _interaction("a", video, 0, False, None) | {"viewed": viewed, "comment_sentiment": sentiment}
    ),
    video=st.sampled_from("vw"),
    viewed=st.booleans(),
    sentiment=st.sampled_from([None, 0.1, 0.2, -0.7]),
)
COUNT_CHANGE = st.one_of(
    st.tuples(
        st.just("clean"),
        st.integers(0, 2).map(lambda days: DAY - timedelta(days)),
        st.lists(COMMENTED, max_size=4),
    ),
    st.tuples(st.just("audit"), st.just(DAY - timedelta(1)), st.sampled_from(["passed", "blocked"])),
    st.tuples(st.just("compact"), st.just(DAY), st.none()),
)


def _apply(change: tuple[str, date, Any]) -> None:
    """Clean a day again, store the outcome of its checks, or join the files of each day."""
    kind, day, value = change
    if kind == "clean":
        half = len(value) // 2
        _write_day(day, value[:half])
        Lake().write("interactions", _interactions(day, value[half:]))  # a day has several files
    elif kind == "audit":
        audits.write_audit(day, value)
    else:
        files = list_data_files(Lake(), "interactions")
        days = {file.partition for file in files}
        compact(Lake(), "interactions", [[f for f in files if f.partition == day] for day in days])


def _full_count(night: date, video: str) -> tuple[int, float | None, int]:
    """Count a video in all interactions that the night may see. Sentiments are added in rising order."""
    rows = audits.visible_lake(night).scan("interactions", up_to_day(night)).to_pylist()
    of_video = [row for row in rows if row["video_id"] == video]
    sentiments = sorted(row["comment_sentiment"] for row in of_video if row["comment_sentiment"] is not None)
    mean = reduce(operator.add, sentiments) / len(sentiments) if sentiments else None
    return sum(row["viewed"] for row in of_video), mean, len(sentiments)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(COUNT_CHANGE, min_size=1, max_size=3))
def test_continued_item_statistics_are_those_of_a_full_count(tmp_path_factory, monkeypatch, changes):
    monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path_factory.mktemp("home")))
    days = [DAY - timedelta(n) for n in range(3)]
    _write_landings(days)
    for day in days:
        _write_day(day, [_interaction("a", "v", 0, False, None) | {"viewed": True, "comment_sentiment": 0.3}])
    sequences._count_items(audits.visible_lake(DAY), DAY)
    for change in changes:
        _apply(change)
        sequences._count_items(audits.visible_lake(DAY), DAY)
        videos = pa.chunked_array([["v", "w"]])
        table = item_statistics(audits.visible_lake(DAY), videos, {"all": DAY})["all"]
        counted = [tuple(row.values()) for row in table.to_pylist()]
        assert counted == [_full_count(DAY, video) for video in ("v", "w")]
