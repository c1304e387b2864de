from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts import landing
from contracts.errors import InputError
from contracts.records import KINDS, Refused


def _rows(tmp_path, kind, table, **options):
    path = tmp_path / "f.parquet"
    pq.write_table(table, path, **options)
    return [row for _, _, row in landing.read(path, KINDS[kind])]


def test_times_are_the_same_whatever_their_unit_and_zone(tmp_path):
    second = 1772704800
    for unit, scale in (("s", 1), ("ms", 1000), ("us", 10**6), ("ns", 10**9)):
        for zone in (None, "UTC", "Europe/Berlin", "Mars/Phobos"):
            column = pa.array([second * scale]).cast(pa.timestamp(unit, zone))
            (row,) = _rows(tmp_path, "events", pa.table({"event_time": column}))
            assert row["event_time"].timestamp() == second


def test_int96_times_do_not_wrap_around(tmp_path):
    column = pa.array([253402300799 * 10**6]).cast(pa.timestamp("us"))
    (row,) = _rows(tmp_path, "events", pa.table({"event_time": column}), use_deprecated_int96_timestamps=True)
    assert row["event_time"].year == 9999


def test_a_time_out_of_range_costs_its_row(tmp_path):
    column = pa.array([1772704800 * 10**6, 1772704800 * 10**3]).cast(pa.timestamp("ms"))
    bad, good = _rows(tmp_path, "events", pa.table({"event_time": column}))
    assert isinstance(bad, Refused)
    assert "event_time is" in str(bad)
    assert good["event_time"].year == 2026


def test_text_that_is_not_utf_8_costs_its_row(tmp_path):
    raw = pa.array([b"caf\xe9", b"good"], pa.binary())
    column = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    for kind, name in (("events", "user_id"), ("users", "city")):
        table = pa.table({"user_id": column if name == "user_id" else pa.array(["a", "b"]), name: column})
        bad, good = _rows(tmp_path, kind, table)
        assert isinstance(bad, Refused)
        assert name in str(bad)
        assert isinstance(good, dict)


def test_profile_columns_of_every_type_are_text_without_quotes(tmp_path):
    table = pa.table(
        {
            "user_id": ["u"],
            "price": pa.array([Decimal("1.50")]),
            "whole": pa.array([Decimal("18")]),
            "born": pa.array([date(2000, 1, 1)]),
            "band": pa.array([b"18-24"], pa.binary()),
            "unknown": pa.array([float("nan")]),
            "kind": pa.array(["x"]).dictionary_encode(),
        }
    )
    (row,) = _rows(tmp_path, "users", table)
    assert row["profile"] == [
        ("band", "18-24"),
        ("born", "2000-01-01"),
        ("kind", "x"),
        ("price", "1.5"),
        ("whole", "18"),
    ]


def test_numbers_that_pandas_made_floats_because_some_are_missing_are_taken(tmp_path):
    table = pa.table({"user_id": [1.0, 2.0], "watch_ms": [8000.0, float("nan")]})
    assert [row["watch_ms"] for row in _rows(tmp_path, "events", table)] == [8000, None]


def test_a_column_that_cannot_be_read_refuses_the_file_in_one_sentence(tmp_path):
    bad = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xe9"], pa.binary()).buffers())
    table = pa.table({"video_id": ["v"], "hashtags": pa.ListArray.from_arrays([0, 1], bad)})
    with pytest.raises(InputError, match=r"f\.parquet is not a readable Parquet file") as caught:
        _rows(tmp_path, "videos", table)
    assert "\n" not in str(caught.value)


def test_a_value_that_many_rows_share_is_held_once_and_refused_where_it_is_too_long(tmp_path):
    path, count = tmp_path / "f.parquet", 3000
    same = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), ["x" * 300_000])
    pq.write_table(pa.table({"event_id": [str(n) for n in range(count)], "comment_text": same}), path)
    limits, most = landing.Limits(record_bytes=100_000, file_bytes=10**12), 0
    for _, _, row in landing.read(path, KINDS["events"], limits):
        most, count = max(most, pa.total_allocated_bytes()), count - 1
        assert row.reason == "too_long"
    assert count == 0
    assert most < 100_000_000  # not 1,024 rows of 300,000 bytes


def test_a_zone_that_nobody_knows_inside_a_list_refuses_the_file_in_one_sentence(tmp_path):
    column = pa.array([[1772704800000000]], pa.list_(pa.timestamp("us", "Mars/Phobos")))
    with pytest.raises(InputError, match=r"f\.parquet is not a readable Parquet file"):
        _rows(tmp_path, "users", pa.table({"user_id": ["u"], "visits": column}))


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array(["u"]), pa.array(["v"])], names=["user_id", "user_id"])
    with pytest.raises(InputError, match="two columns of one name"):
        _rows(tmp_path, "users", table)
