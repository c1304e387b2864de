from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from core.records import LANDING_TYPES
from lake import plain_records
from lake.record_columns import RecordColumns


def _convert(landing_type, **fields):
    columns = {name: pl.Series(values, strict=True) for name, values in fields.items()}
    length = len(next(iter(columns.values())))
    return plain_records.convert(RecordColumns(np.arange(length), columns), LANDING_TYPES[landing_type])


def _column(landing_type, name, values):
    """The plain positions of a column and its converted values. The id keeps the records from being empty."""
    required = {f"{landing_type[:-1]}_id": ["a"] * len(values)}
    converted = _convert(landing_type, **(required | {name: values}))
    return converted.positions.tolist(), converted.rows[name].to_pylist()


NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("user_id", ["a", "", None], ["a", None, None]),
        ("user_id", [7, -1, None], ["7", "-1", None]),
        ("user_id", [5.0, float("nan")], ["5", None]),
        ("watch_ms", [8000.0, None], [8000, None]),
        ("event_time", [NOON.timestamp() * 1000, 0.0], [NOON, None]),
        ("event_time", [int(NOON.timestamp() * 1000), 0], [NOON, None]),
        ("event_time", ["2026-03-05T12:00:00", ""], [NOON, None]),
        ("event_time", ["2026-03-05T17:30:00.000+05:30", "2026-03-05T04:00:00-08:00"], [NOON, NOON]),
    ],
)
def test_plain_values_of_events_are_converted(name, values, expected):
    assert _column("events", name, values) == ([0, 1, 2][: len(values)], expected)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("user_id", ["a", "x" * 513]),
        ("user_id", ["a", "a\0b"]),
        ("user_id", [5.0, 5.5]),
        ("user_id", [None, True]),
        ("watch_ms", [1.0, 2.0**60]),
        ("event_time", [None, "2026-02-30T12:00:00"]),
        ("event_time", [None, "2026-03-05T12:00:60"]),
        ("event_time", [None, "2026-03-05 12:00:00"]),
        ("event_time", [0, 1772704800]),
        ("event_type", [None, 7]),
    ],
)
def test_other_values_are_left_to_the_strict_parser(name, values):
    assert _column("events", name, values)[0] == [0]


def test_texts_of_videos_are_visible_or_missing():
    assert _column("videos", "caption", ["", " a ", "猫", "\u3000", None]) == (
        [0, 1, 2, 4],
        [None, " a ", "猫", None],
    )
    assert _column("videos", "duration_ms", [0, 7, -1]) == ([0, 1], [None, 7])
    assert _column("videos", "hashtags", [["a"], [], None, ["a", None]]) == ([0, 1, 2], [["a"], [], None])


def test_a_record_without_its_required_id_is_not_plain():
    assert _convert("users", user_id=["a", None, ""], city=["x", "y", "z"]).positions.tolist() == [0]


def test_the_profile_has_all_other_fields_in_order_of_their_names():
    converted = _convert("users", user_id=["a", "b", "c"], city=["Ulm", "", None], age=[7, None, None])
    assert converted.rows["profile"].to_pylist() == [[("age", "7"), ("city", "Ulm")], [("city", "")], []]
    assert _convert("users", user_id=["a"]).rows["profile"].to_pylist() == [[]]


def test_a_profile_with_a_float_is_not_plain():
    assert _convert("users", user_id=["a", "b"], age=[1.5, None]).positions.tolist() == [1]


@pytest.mark.parametrize("name", ["events", "videos", "users"])
def test_no_records_give_no_rows(name):
    columns = RecordColumns(np.arange(0), {})
    converted = plain_records.convert(columns, LANDING_TYPES[name])
    assert converted.rows.num_rows == 0
    assert converted.rows.schema == plain_records.record_schema(LANDING_TYPES[name])
