"""The suites on real tables: each planted fault is found, with the same result in process and on Spark."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from checks.history import History
from checks.night_tables import NightTables
from checks.outcome import ExpectationResult
from checks.suite import NightFacts
from checks.suites import night_suites
from checks.validation import validate
from core.config import load_params
from core.paths import PROJECT_ROOT
from core.tables import TABLES

PARAMS = load_params(PROJECT_ROOT / "params.yaml").check
Files = dict[str, list[str]]
DAY = date(2026, 3, 5)
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
NAN, INFINITE = float("nan"), float("inf")

EVENT = {
    "user_id": "u",
    "video_id": "a",
    "event_type": "view",
    "device": "android",
    "watch_ms": 5,
    "day": DAY,
}
INTERACTION = {"user_id": "u", "video_id": "a", "watched_ms": 500, "watch_ratio": 0.5, "day": DAY}
VECTOR = {"video_id": "a", "modality": "visual", "segment": -1, "vector": [0.6, 0.8], "fingerprint": "f"}
LANDED = VECTOR | {"modality": "text", "fingerprint": "landed", "vector": [3.0, 4.0]}
SEQUENCE = {"day": DAY, "video_ids": ["a", "a"], "behaviours": [1, 1], "started_at": [NOON, NOON]}
SEQUENCE |= {"watch_ratios": [0.5, None], "comment_sentiments": [None, None]}


def _rows(row: dict[str, Any], *changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [row | change for change in changes]


GOOD: dict[str, list[dict[str, Any]]] = {
    "landings": [
        {"kind": "events", "path": "e", "rows": 100, "rejected": 1, "day": DAY},
        {"kind": "users", "path": "u", "rows": 0, "rejected": 0, "day": DAY},
        {"kind": "videos", "path": "v", "rows": 100, "rejected": 20, "day": DAY},
    ],
    "events": [EVENT | {"event_id": str(n), "source_file": "e", "source_line": n} for n in range(120)],
    "rejects": [
        {"step": "clean", "reason": "unknown_video", "received_day": received, "source_line": n, "day": DAY}
        for received in (DAY, DAY + timedelta(1))
        for n in range(6)
    ],
    "users": _rows({"day": DAY, "registration_time": NOON}, {"user_id": "u"}, {"user_id": "w"}),
    "videos": [
        {"video_id": "a", "media_uri": "a.mp4", "caption": "cat", "duration_ms": 900, "day": DAY},
        {"video_id": "b", "media_uri": " ", "caption": "https://a.b/c \n", "duration_ms": 900, "day": DAY},
        {"video_id": "b", "media_uri": "b.mp4", "caption": "dog", "day": DAY - timedelta(1)},
    ],
    "interactions": [INTERACTION | {"started_at": NOON + timedelta(minutes=n)} for n in range(20)],
    "features": [VECTOR, VECTOR | {"segment": 0}, LANDED | {"day": DAY, "source": "2"}],
    "sequences": _rows(SEQUENCE, {"user_id": "u"}, {"user_id": "w"}),
}

FAULTS: list[tuple[str, str, list[dict[str, Any]]]] = [
    ("landings.unreadable_files", "landings", [{"kind": "events", "path": "x", "rows": 2, "rejected": 2}]),
    ("landings.events_reject_rate", "landings", [{"kind": "events", "path": "x", "rows": 9, "rejected": 9}]),
    ("landings.users_reject_rate", "landings", [{"kind": "users", "path": "x", "rows": 30, "rejected": 20}]),
    ("events.missing_user_rate", "events", [EVENT | {"user_id": None}] * 9),
    ("events.missing_video_rate", "events", [EVENT | {"video_id": None}] * 9),
    ("events.negative_watch_rate", "events", [EVENT | {"watch_ms": -5}] * 20),
    ("events.device_psi", "events", [EVENT | {"device": "ios"}] * 90),
    ("rejects.missing_reasons", "rejects", [{"step": "clean", "received_day": DAY}]),
    ("rejects.reject_rate_unknown_video", "rejects", [GOOD["rejects"][0]] * 9),
    ("rejects.reject_rate", "rejects", [GOOD["rejects"][0]] * 40),
    ("users.missing_ids", "users", [{"day": DAY}]),
    ("users.future_registrations", "users", [{"user_id": "x", "registration_time": NOON + timedelta(2)}]),
    ("videos.missing_ids", "videos", [{"duration_ms": 900}]),
    ("videos.invalid_durations", "videos", [{"video_id": "c", "duration_ms": 0}]),
    ("videos.media_without_vector", "videos", [{"video_id": "c", "media_uri": "c.mp4"}]),
    ("videos.captions_without_vector", "videos", [{"video_id": "c", "caption": "www.a.b cow"}]),
    ("interactions.missing_user_id", "interactions", [INTERACTION | {"user_id": None, "started_at": NOON}]),
    ("interactions.missing_video_id", "interactions", [INTERACTION | {"video_id": None, "started_at": NOON}]),
    ("interactions.missing_started_at", "interactions", [INTERACTION]),
    ("interactions.duplicate_rows", "interactions", [INTERACTION | {"started_at": NOON}]),
    (
        "interactions.unknown_videos",
        "interactions",
        [INTERACTION | {"started_at": NOON, "video_id": "x"}],
    ),
    (
        "interactions.out_of_day_rows",
        "interactions",
        [INTERACTION | {"started_at": NOON + timedelta(hours=36)}],
    ),
    *[
        (
            "interactions.invalid_watch_ratios",
            "interactions",
            [INTERACTION | {"started_at": NOON - timedelta(1 / 24), "watch_ratio": ratio}],
        )
        for ratio in (NAN, INFINITE, -0.1, 8.5)
    ],
    (
        "interactions.negative_watch_times",
        "interactions",
        [INTERACTION | {"started_at": NOON - timedelta(1 / 24), "watched_ms": -1}],
    ),
    (
        "interactions.watch_ratio_psi",
        "interactions",
        [INTERACTION | {"started_at": NOON - timedelta(minutes=n), "watch_ratio": 1.0} for n in range(1, 30)],
    ),
    ("features.duplicate_rows", "features", [VECTOR]),
    ("features.missing_vectors", "features", [VECTOR | {"segment": 1, "vector": None}]),
    *[
        ("features.invalid_vectors", "features", [VECTOR | {"segment": 1, "vector": vector}])
        for vector in ([0.0, 0.0], [NAN, 1.0], [INFINITE, 0.0], [3.0, 4.0])
    ],
    (
        "features.invalid_landed_vectors",
        "features",
        [LANDED | {"day": DAY, "source": "3", "vector": [0.0, 0.0]}],
    ),
    ("features.num_visual_widths", "features", [VECTOR | {"segment": 1, "vector": [1.0]}]),
    ("sequences.missing_users", "sequences", [SEQUENCE]),
    ("sequences.duplicate_users", "sequences", [SEQUENCE | {"user_id": "u"}]),
    (
        "sequences.empty_sequences",
        "sequences",
        [{"user_id": "x", "day": DAY} | {name: [] for name in SEQUENCE if name != "day"}],
    ),
    ("sequences.unaligned_sequences", "sequences", [SEQUENCE | {"user_id": "x", "behaviours": [1]}]),
]


def _write(folder: Path, tables: dict[str, list[dict[str, Any]]]) -> Files:
    """Write the rows as one Parquet file a table."""
    folder.mkdir()
    files = {}
    for name, rows in tables.items():
        schema = TABLES[name].schema
        filled = [dict.fromkeys(schema.names) | row for row in rows]
        pq.write_table(pa.Table.from_pylist(filled, schema), folder / f"{name}.parquet")
        files[name] = [str(folder / f"{name}.parquet")]
    return files


def _check(folder: Path, tables: NightTables, *names: str) -> list[ExpectationResult]:
    """Check the suites with these names, or all. The reference nights had the good rows."""
    history = History({DAY: 120}, _write(folder / "history", GOOD))
    fingerprints = {"visual": "f", "text": "landed"}
    suites = night_suites(NightFacts(DAY, 120, ["unknown_video"], fingerprints, history), PARAMS)
    chosen = [suite for suite in suites if not names or suite.table in names]
    return validate(chosen, tables, str(DAY), folder / "store", folder / "site")


def _in_process(files: Files) -> NightTables:
    return NightTables(files, lambda: pytest.fail("Spark was started"))


def _on_spark(files: Files, spark_sql: SparkSession) -> NightTables:
    return NightTables(files, lambda: spark_sql, max_bytes_in_process=-1)


def _with_faults(*faults: tuple[str, str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    tables = {name: list(rows) for name, rows in GOOD.items()}
    for _, table, rows in faults:
        tables[table] += rows
    return tables


def test_good_tables_pass_every_expectation(tmp_path):
    files = _write(tmp_path / "night", GOOD)
    results = _check(tmp_path, _in_process(files))
    assert [r.describe() for r in results if r.outcome == "failed"] == []
    assert {r.table for r in results} == set(GOOD)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[0])
def test_each_fault_fails_its_own_expectation(tmp_path, fault):
    metric, table, _ = fault
    files = _write(tmp_path / "night", _with_faults(fault))
    results = _check(tmp_path, _in_process(files), table)
    assert metric in {f"{r.table}.{r.metric}" for r in results if r.outcome == "failed"}


def test_every_expectation_on_rows_has_a_planted_fault(tmp_path):
    files = _write(tmp_path / "night", GOOD)
    metrics = {f"{r.table}.{r.metric}" for r in _check(tmp_path, _in_process(files))}
    without_rows_to_plant = {
        "events.rows", "events.volume_ratio", "events.event_type_psi", "interactions.rows",
        "landings.videos_reject_rate", "landings.features_reject_rate", "features.num_text_widths",
    }  # fmt: skip
    assert metrics - {metric for metric, _, _ in FAULTS} == without_rows_to_plant


@pytest.mark.parametrize("tables", [GOOD, _with_faults(*FAULTS), {name: [] for name in GOOD}])
def test_spark_gives_the_same_results(tmp_path, spark_sql, tables):
    files = _write(tmp_path / "night", tables)
    (tmp_path / "process").mkdir()
    (tmp_path / "spark").mkdir()
    in_process = _check(tmp_path / "process", _in_process(files))
    assert _check(tmp_path / "spark", _on_spark(files, spark_sql)) == in_process
