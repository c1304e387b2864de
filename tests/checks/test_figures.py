from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks import figures
from contracts.records import LANDED
from contracts.tables import EVENTS, FEATURES, INTERACTIONS, TableSpec

DAY = date(2026, 3, 5)
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)


def _stream(
    spec: TableSpec, columns: tuple[str, ...], rows: list[dict], size: int = 2
) -> list[pa.RecordBatch]:
    filled = [dict.fromkeys(spec.schema.names) | row for row in rows]
    return pa.Table.from_pylist(filled, spec.schema).select(columns).to_batches(max_chunksize=size)


def _viewing(minute: int = 0, **changes) -> dict:
    at = NOON + timedelta(minutes=minute)
    plain = {"user_id": "u", "video_id": "v", "started_at": at, "watched_ms": 900, "watch_ratio": 0.9}
    return plain | changes


def _interactions(rows: list[dict]) -> figures.Figures:
    return figures.interactions(_stream(INTERACTIONS, figures.VIEWING_COLUMNS, rows), DAY)


def _vector(video: str, vector: list[float] | None, modality: str = "visual", fingerprint: str = "f") -> dict:
    row = {"video_id": video, "modality": modality, "segment": -1, "vector": vector}
    return row | {"fingerprint": fingerprint}


def _features(rows: list[dict], fingerprints: dict[str, str], media=(), captions=()) -> figures.Figures:
    batches = _stream(FEATURES, figures.VECTOR_COLUMNS, rows)
    return figures.features(batches, fingerprints, media, dict.fromkeys(captions, "a cat"), bool)


@given(st.lists(st.tuples(st.booleans(), st.booleans())))
def test_shares_of_missing_ids_are_counted_over_all_batches(kept):
    rows = [{"user_id": "u" if user else None, "video_id": "v" if video else None} for user, video in kept]
    measured = figures.events(_stream(EVENTS, figures.EVENT_COLUMNS, rows), {}, 0, None)
    assert measured["rows"] == len(kept)
    if kept:
        assert measured["missing_user_share"] == pytest.approx(np.mean([not user for user, _ in kept]))
        assert measured["missing_video_share"] == pytest.approx(np.mean([not video for _, video in kept]))
    else:
        assert measured["missing_user_share"] is None


def test_refused_and_unreadable_shares_and_the_usual_day_are_told():
    batches = _stream(EVENTS, figures.EVENT_COLUMNS, [{"user_id": "u", "video_id": "v"}] * 8)
    measured = figures.events(batches, {"duplicate": 1, "bot": 3}, unreadable=2, usual=16)
    assert measured["refused_share"] == 0.5
    assert (measured["refused_bot_share"], measured["refused_duplicate_share"]) == (0.375, 0.125)
    assert measured["unreadable_share"] == 0.2
    assert measured["of_usual"] == 0.5


@given(st.lists(st.integers(0, 5)))
def test_repeated_viewings_are_counted_across_batches(minutes):
    measured = _interactions([_viewing(minute) for minute in minutes])
    assert measured["repeated_rows"] == len(minutes) - len(set(minutes))


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        ({"user_id": None}, "keyless_rows"),
        ({"started_at": None}, "keyless_rows"),
        ({"started_at": NOON - timedelta(hours=13)}, "stray_rows"),
        ({"started_at": NOON + timedelta(hours=36)}, "stray_rows"),
        ({"watch_ratio": float("nan")}, "bad_watch_rows"),
        ({"watch_ratio": float("inf")}, "bad_watch_rows"),
        ({"watch_ratio": -0.1}, "bad_watch_rows"),
        ({"watched_ms": -1}, "bad_watch_rows"),
    ],
)
def test_each_thing_wrong_with_a_viewing_moves_its_own_figure_only(change, figure):
    measured = _interactions([_viewing(1), _viewing(2), _viewing(3) | change])
    wrong = {"keyless_rows": 0, "stray_rows": 0, "bad_watch_rows": 0, "repeated_rows": 0} | {figure: 1}
    assert {name: measured[name] for name in wrong} == wrong


def test_a_viewing_that_a_fast_clock_puts_just_past_midnight_is_not_a_stray():
    assert _interactions([_viewing(12 * 60 + 9)])["stray_rows"] == 0


def test_the_longest_viewing_passes_over_unknown_ratios_and_is_unknown_without_any():
    assert (
        _interactions([_viewing(1, watch_ratio=None), _viewing(2, watch_ratio=3.5)])["longest_watch_ratio"]
        == 3.5
    )
    unknown = _interactions([_viewing(1, watch_ratio=None, watched_ms=None)])
    assert (unknown["longest_watch_ratio"], unknown["bad_watch_rows"]) == (None, 0)


@pytest.mark.parametrize(
    "vector", [[], None, [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 0.0], [0.6, 0.7], [3.0, 4.0]]
)
def test_vectors_that_are_empty_zero_not_finite_or_not_of_unit_length_are_bad(vector):
    rows = [_vector("a", [0.6, 0.8]), _vector("b", vector), _vector("c", [0.0, 1.0])]
    assert _features(rows, {"visual": "f"})["bad_rows"] == 1


def test_landed_vectors_may_have_any_length_but_not_none():
    rows = [_vector("a", [3.0, 4.0], fingerprint=LANDED), _vector("b", [0.0, 0.0], fingerprint=LANDED)]
    assert _features(rows, {"visual": LANDED})["bad_rows"] == 1


def test_vectors_of_encoders_not_in_use_are_passed_over():
    rows = [
        _vector("a", [1.0]),
        _vector("a", [9.0, 9.0], fingerprint="old"),
        _vector("a", [1.0], "audio", "f"),
    ]
    measured = _features(rows, {"visual": "f"})
    assert (measured["rows"], measured["bad_rows"], measured["visual_widths"]) == (1, 0, 1)
    assert measured["audio_widths"] is None


def test_two_widths_and_repeated_vectors_of_one_encoder_are_counted():
    measured = _features(
        [_vector("a", [1.0]), _vector("b", [0.6, 0.8]), _vector("b", [0.6, 0.8])], {"visual": "f"}
    )
    assert (measured["visual_widths"], measured["repeated_rows"]) == (2, 1)


def test_coverage_asks_for_what_is_seen_or_heard_of_media_and_for_the_text_of_captions():
    rows = [_vector("a", [1.0]), _vector("b", [1.0], "audio"), _vector("a", [1.0], "text")]
    encoders = dict.fromkeys(("visual", "audio", "text"), "f")
    measured = _features(rows, encoders, media=["a", "b", "c", "d"], captions=["a", "b"])
    assert (measured["embedded_share"], measured["captioned_share"]) == (0.5, 0.5)


def test_coverage_is_not_asked_of_modalities_that_are_switched_off():
    measured = _features([], {"text": "f"}, media=["a"], captions=["a"])
    assert (measured["embedded_share"], measured["captioned_share"]) == (None, 0.0)
    measured = _features([], {}, media=["a"], captions=["a"])
    assert (measured["embedded_share"], measured["captioned_share"]) == (None, None)
