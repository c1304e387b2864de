import json
from decimal import Decimal

import pytest

from contracts.records import KINDS, Refused, row_of


def _row(kind, **fields):
    return row_of(json.dumps(fields).encode(), KINDS[kind])


def _refused(kind, **fields):
    row = _row(kind, **fields)
    assert isinstance(row, Refused)
    return str(row)


@pytest.mark.parametrize("field", ["watch_ms", "context"])
def test_a_whole_number_may_be_written_as_a_float(field):
    value = {"feed_position": 7.0} if field == "context" else 8000.0
    row = _row("events", **{field: value})
    assert row["feed_position" if field == "context" else field] in (7, 8000)
    assert isinstance(row["feed_position"] or row["watch_ms"], int)


def test_a_number_that_is_not_whole_is_refused_by_name():
    assert "watch_ms is 0.5; it must be a whole number" in _refused("events", watch_ms=0.5)


def test_an_id_that_pandas_made_a_float_is_the_same_id():
    assert _row("events", user_id=17.0)["user_id"] == _row("events", user_id=17)["user_id"] == "17"
    assert "user_id" in _refused("events", user_id=2.0**53)
    assert row_of({"user_id": float("nan")}, KINDS["events"])["user_id"] is None


@pytest.mark.parametrize("name", ["v\0", "v\0\0", "v" * 513])
def test_ids_that_others_cannot_hold_are_refused(name):
    assert "video_id" in _refused("events", video_id=name)
    assert "video_id" in _refused("videos", video_id=name)


def test_a_duration_of_zero_is_unknown_and_keeps_its_video():
    assert _row("videos", video_id="v", duration_ms=0)["duration_ms"] is None
    assert _row("videos", video_id="v", duration_ms=0.0)["duration_ms"] is None
    assert "duration_ms is -1" in _refused("videos", video_id="v", duration_ms=-1)


def test_an_empty_media_uri_is_none():
    assert _row("videos", video_id="v", media_uri="")["media_uri"] is None


def test_a_time_in_seconds_is_refused_and_not_taken_for_1970():
    assert "looks like seconds; write milliseconds" in _refused("events", event_time=1772704800)
    assert _row("events", event_time=1772704800000)["event_time"].year == 2026
    assert _row("users", user_id="u", registration_time=0)["registration_time"] is None


@pytest.mark.parametrize("time", ["20260305", "2026-W10-4", "1772704800"])
def test_a_time_in_a_form_that_is_not_rfc_3339_is_refused(time):
    assert "write RFC 3339" in _refused("events", event_time=time)


def test_a_profile_nested_a_thousand_deep_is_one_refusal():
    deep = b'{"user_id": "u", "x": ' + b"[" * 1000 + b"]" * 1000 + b"}"
    for raw in (deep, b'{"a":' * 100_000):
        refused = row_of(raw, KINDS["users"])
        assert isinstance(refused, Refused)
        assert refused.reason == "malformed_json"


def test_profile_values_are_text_without_quotes():
    row = row_of({"user_id": "u", "a": 1.5, "b": Decimal("2.5"), "c": ["x"], "d": True}, KINDS["users"])
    assert row["profile"] == [("a", "1.5"), ("b", "2.5"), ("c", '["x"]'), ("d", "true")]


@pytest.mark.parametrize("vector", [[1e300, 1.0], [0.0, 0.0], [float("nan")], []])
def test_a_vector_that_cannot_be_one_is_refused(vector):
    refused = row_of({"video_id": "v", "modality": "text", "vector": vector}, KINDS["features"])
    assert isinstance(refused, Refused)
    assert "vector" in str(refused)
