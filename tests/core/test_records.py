import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from core.records import LANDING_TYPES, RecordRejected, parse_record


def _row(landing_type, **fields):
    return parse_record(json.dumps(fields).encode(), LANDING_TYPES[landing_type])


def _rejection(landing_type, **fields):
    row = _row(landing_type, **fields)
    assert isinstance(row, RecordRejected)
    return str(row)


@pytest.mark.parametrize("field", ["watch_ms", "context"])
def test_an_integer_may_be_written_as_a_float(field):
    value = {"feed_position": 7.0} if field == "context" else 8000.0
    row = _row("events", **{field: value})
    assert row["feed_position" if field == "context" else field] in (7, 8000)
    assert isinstance(row["feed_position"] or row["watch_ms"], int)


def test_a_fraction_in_an_integer_field_is_refused():
    assert "watch_ms is 0.5; it must be a whole number" in _rejection("events", watch_ms=0.5)


def test_a_float_id_equals_the_integer_id():
    assert _row("events", user_id=17.0)["user_id"] == _row("events", user_id=17)["user_id"] == "17"
    assert "user_id" in _rejection("events", user_id=2.0**53)
    assert parse_record({"user_id": float("nan")}, LANDING_TYPES["events"])["user_id"] is None


@pytest.mark.parametrize("name", ["v\0", "v\0\0", "v" * 513])
def test_ids_that_are_too_long_or_hold_nul_are_refused(name):
    assert "video_id" in _rejection("events", video_id=name)
    assert "video_id" in _rejection("videos", video_id=name)


def test_a_duration_of_0_is_unknown():
    assert _row("videos", video_id="v", duration_ms=0)["duration_ms"] is None
    assert _row("videos", video_id="v", duration_ms=0.0)["duration_ms"] is None
    assert "duration_ms is -1" in _rejection("videos", video_id="v", duration_ms=-1)


def test_an_empty_media_uri_is_none():
    assert _row("videos", video_id="v", media_uri="")["media_uri"] is None


def test_the_expiry_of_a_video_is_optional():
    assert _row("videos", video_id="v")["expires_at"] is None
    row = _row("videos", video_id="v", expires_at="2026-03-05T12:00:00+02:00")
    assert row["expires_at"] == datetime(2026, 3, 5, 10, tzinfo=UTC)


def test_a_time_in_seconds_is_refused():
    assert "looks like seconds; write milliseconds" in _rejection("events", event_time=1772704800)
    assert _row("events", event_time=1772704800000)["event_time"].year == 2026
    assert _row("users", user_id="u", registration_time=0)["registration_time"] is None


@pytest.mark.parametrize("time", ["20260305", "2026-W10-4", "1772704800"])
def test_a_time_that_is_not_rfc_3339_is_refused(time):
    assert "write RFC 3339" in _rejection("events", event_time=time)


def test_a_deeply_nested_record_is_refused():
    deep = b'{"user_id": "u", "x": ' + b"[" * 1000 + b"]" * 1000 + b"}"
    for raw in (deep, b'{"a":' * 100_000):
        rejected = parse_record(raw, LANDING_TYPES["users"])
        assert isinstance(rejected, RecordRejected)
        assert rejected.reason == "malformed_json"


def test_profile_values_are_text_without_quotes():
    row = parse_record(
        {"user_id": "u", "a": 1.5, "b": Decimal("2.5"), "c": ["x"], "d": True}, LANDING_TYPES["users"]
    )
    assert row["profile"] == [("a", "1.5"), ("b", "2.5"), ("c", '["x"]'), ("d", "true")]


@pytest.mark.parametrize("vector", [[1e300, 1.0], [0.0, 0.0], [float("nan")], [1.0, float("nan")], []])
def test_an_invalid_vector_is_refused(vector):
    rejected = parse_record(
        {"video_id": "v", "modality": "text", "vector": vector}, LANDING_TYPES["features"]
    )
    assert isinstance(rejected, RecordRejected)
    assert "vector" in str(rejected)


def test_fields_that_the_contract_does_not_name_are_kept_as_text():
    row = _row(
        "events", event_id="e", client={"b": 2, "a": [1]}, score=0.5, context={"app": "tv", "device": "x"}
    )
    assert row["other_fields"] == [("client", '{"a": [1], "b": 2}'), ("context.app", "tv"), ("score", "0.5")]
    assert _row("events", event_id="e", context={"device": "x"}, new=None)["other_fields"] is None
    assert _row("videos", video_id="v", language="en")["other_fields"] == [("language", "en")]


def test_an_other_field_that_is_not_utf_8_rejects_no_record():
    row = parse_record({"event_id": "e", "blob": b"\xff"}, LANDING_TYPES["events"])
    assert row["other_fields"] == [("blob", "\ufffd")]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"watch_ms": "12s"}, "watch_ms"),
        ({"event_time": "noon"}, "event_time"),
        ({"context": {"device": 5}}, "context.device"),
        ({"context": {"feed_position": 0.5}}, "context.feed_position"),
        ({"user_id": ["u"]}, "user_id"),
    ],
)
def test_a_reject_names_its_field(fields, field):
    rejected = parse_record(json.dumps(fields).encode(), LANDING_TYPES["events"])
    assert isinstance(rejected, RecordRejected)
    assert rejected.field == field
