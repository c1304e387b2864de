from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import table_metrics
from core.records import LANDED_FINGERPRINT
from core.tables import EVENTS, FEATURES, INTERACTIONS, TableSpec

DAY = date(2026, 3, 5)
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)


def _stream(
    table: TableSpec, columns: tuple[str, ...], rows: list[dict], size: int = 2
) -> list[pa.RecordBatch]:
    filled = [dict.fromkeys(table.schema.names) | row for row in rows]
    return pa.Table.from_pylist(filled, table.schema).select(columns).to_batches(max_chunksize=size)


def _interaction(minute: int = 0, **changes) -> dict:
    at = NOON + timedelta(minutes=minute)
    plain = {"user_id": "u", "video_id": "v", "started_at": at, "watched_ms": 900, "watch_ratio": 0.9}
    return plain | changes


def _interactions(rows: list[dict]) -> table_metrics.TableMetrics:
    return table_metrics.interaction_metrics(
        _stream(INTERACTIONS, table_metrics.INTERACTION_COLUMNS, rows), DAY
    )


def _vector(video: str, vector: list[float] | None, modality: str = "visual", fingerprint: str = "f") -> dict:
    row = {"video_id": video, "modality": modality, "segment": -1, "vector": vector}
    return row | {"fingerprint": fingerprint}


def _features(
    rows: list[dict], fingerprints: dict[str, str], media=(), captions=()
) -> table_metrics.TableMetrics:
    batches = _stream(FEATURES, table_metrics.VECTOR_COLUMNS, rows)
    return table_metrics.feature_metrics(batches, fingerprints, media, dict.fromkeys(captions, "a cat"), bool)


@given(st.lists(st.tuples(st.booleans(), st.booleans())))
def test_missing_ids_are_counted_over_all_batches(kept):
    rows = [{"user_id": "u" if user else None, "video_id": "v" if video else None} for user, video in kept]
    metrics = table_metrics.event_metrics(_stream(EVENTS, table_metrics.EVENT_COLUMNS, rows), {}, 0, None)
    assert metrics["rows"] == len(kept)
    if kept:
        assert metrics["missing_user_rate"] == pytest.approx(np.mean([not user for user, _ in kept]))
        assert metrics["missing_video_rate"] == pytest.approx(np.mean([not video for _, video in kept]))
    else:
        assert metrics["missing_user_rate"] is None


def test_event_rates_and_volume_ratio():
    batches = _stream(EVENTS, table_metrics.EVENT_COLUMNS, [{"user_id": "u", "video_id": "v"}] * 8)
    metrics = table_metrics.event_metrics(
        batches, {"duplicate_event": 1, "suspected_bot": 3}, num_unreadable=2, median_rows=16
    )
    assert metrics["reject_rate"] == 0.5
    assert (metrics["reject_rate_suspected_bot"], metrics["reject_rate_duplicate_event"]) == (0.375, 0.125)
    assert metrics["unreadable_rate"] == 0.2
    assert metrics["volume_ratio"] == 0.5


@given(st.lists(st.integers(0, 5)))
def test_duplicate_interactions_are_counted_across_batches(minutes):
    metrics = _interactions([_interaction(minute) for minute in minutes])
    assert metrics["duplicate_rows"] == len(minutes) - len(set(minutes))


@pytest.mark.parametrize(
    ("change", "metric"),
    [
        ({"user_id": None}, "null_key_rows"),
        ({"started_at": None}, "null_key_rows"),
        ({"started_at": NOON - timedelta(hours=13)}, "out_of_day_rows"),
        ({"started_at": NOON + timedelta(hours=36)}, "out_of_day_rows"),
        ({"watch_ratio": float("nan")}, "invalid_watch_rows"),
        ({"watch_ratio": float("inf")}, "invalid_watch_rows"),
        ({"watch_ratio": -0.1}, "invalid_watch_rows"),
        ({"watched_ms": -1}, "invalid_watch_rows"),
    ],
)
def test_each_fault_of_an_interaction_moves_only_its_own_metric(change, metric):
    metrics = _interactions([_interaction(1), _interaction(2), _interaction(3) | change])
    expected = {"null_key_rows": 0, "out_of_day_rows": 0, "invalid_watch_rows": 0, "duplicate_rows": 0} | {
        metric: 1
    }
    assert {name: metrics[name] for name in expected} == expected


def test_an_interaction_just_past_midnight_is_within_the_day():
    assert _interactions([_interaction(12 * 60 + 9)])["out_of_day_rows"] == 0


def test_the_largest_watch_ratio_ignores_unknown_ratios():
    assert (
        _interactions([_interaction(1, watch_ratio=None), _interaction(2, watch_ratio=3.5)])[
            "max_watch_ratio"
        ]
        == 3.5
    )
    unknown = _interactions([_interaction(1, watch_ratio=None, watched_ms=None)])
    assert (unknown["max_watch_ratio"], unknown["invalid_watch_rows"]) == (None, 0)


@pytest.mark.parametrize(
    "vector", [[], None, [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 0.0], [0.6, 0.7], [3.0, 4.0]]
)
def test_invalid_vectors_are_counted(vector):
    rows = [_vector("a", [0.6, 0.8]), _vector("b", vector), _vector("c", [0.0, 1.0])]
    assert _features(rows, {"visual": "f"})["invalid_vectors"] == 1


def test_landed_vectors_may_have_any_length_but_zero():
    rows = [
        _vector("a", [3.0, 4.0], fingerprint=LANDED_FINGERPRINT),
        _vector("b", [0.0, 0.0], fingerprint=LANDED_FINGERPRINT),
    ]
    assert _features(rows, {"visual": LANDED_FINGERPRINT})["invalid_vectors"] == 1


def test_vectors_of_unused_encoders_are_ignored():
    rows = [
        _vector("a", [1.0]),
        _vector("a", [9.0, 9.0], fingerprint="old"),
        _vector("a", [1.0], "audio", "f"),
    ]
    metrics = _features(rows, {"visual": "f"})
    assert (metrics["rows"], metrics["invalid_vectors"], metrics["num_visual_widths"]) == (1, 0, 1)
    assert metrics["num_audio_widths"] is None


def test_widths_and_duplicate_vectors_are_counted():
    metrics = _features(
        [_vector("a", [1.0]), _vector("b", [0.6, 0.8]), _vector("b", [0.6, 0.8])], {"visual": "f"}
    )
    assert (metrics["num_visual_widths"], metrics["duplicate_rows"]) == (2, 1)


def test_coverage_of_media_and_captions():
    rows = [_vector("a", [1.0]), _vector("b", [1.0], "audio"), _vector("a", [1.0], "text")]
    encoders = dict.fromkeys(("visual", "audio", "text"), "f")
    metrics = _features(rows, encoders, media=["a", "b", "c", "d"], captions=["a", "b"])
    assert (metrics["media_embedded_rate"], metrics["text_embedded_rate"]) == (0.5, 0.5)


def test_modalities_that_are_off_have_no_coverage():
    metrics = _features([], {"text": "f"}, media=["a"], captions=["a"])
    assert (metrics["media_embedded_rate"], metrics["text_embedded_rate"]) == (None, 0.0)
    metrics = _features([], {}, media=["a"], captions=["a"])
    assert (metrics["media_embedded_rate"], metrics["text_embedded_rate"]) == (None, None)
