from datetime import date
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import InputError
from core.records import LANDING_TYPES, RecordRejected
from lake import landing
from lake.landing import LandingLimits
from lake.landing_batches import read_batches


def _rows(tmp_path, landing_type, table, **options):
    path = tmp_path / "f.parquet"
    pq.write_table(table, path, **options)
    return [row for _, _, row in landing.read_records(path, LANDING_TYPES[landing_type])]


def test_times_do_not_depend_on_unit_and_zone(tmp_path):
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


def test_a_time_out_of_range_rejects_its_row(tmp_path):
    column = pa.array([1772704800 * 10**6, 1772704800 * 10**3]).cast(pa.timestamp("ms"))
    bad, good = _rows(tmp_path, "events", pa.table({"event_time": column}))
    assert isinstance(bad, RecordRejected)
    assert "event_time is" in str(bad)
    assert good["event_time"].year == 2026


def test_invalid_utf_8_rejects_its_row(tmp_path):
    raw = pa.array([b"caf\xe9", b"good"], pa.binary())
    column = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    for kind, name in (("events", "user_id"), ("users", "city")):
        table = pa.table({"user_id": column if name == "user_id" else pa.array(["a", "b"]), name: column})
        bad, good = _rows(tmp_path, kind, table)
        assert isinstance(bad, RecordRejected)
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


@pytest.mark.parametrize("list_type", [pa.list_, pa.large_list])
def test_views_of_text_are_text(list_type, tmp_path):
    caption = pa.array([b"red cat", b"caf\xe9"], pa.binary_view())
    hashtags = pa.array([["cat"], None], list_type(pa.string_view()))
    table = pa.table(
        {"video_id": pa.array(["a", "b"], pa.string_view()), "caption": caption, "hashtags": hashtags}
    )
    pq.write_table(table, tmp_path / "f.parquet")
    (batch,) = read_batches(tmp_path / "f.parquet", LANDING_TYPES["videos"], LandingLimits(), 10)
    assert batch.rows.select(["video_id", "caption", "hashtags"]).to_pylist() == [
        {"video_id": "a", "caption": "red cat", "hashtags": ["cat"]}
    ]
    assert [reject.line for reject in batch.rejects] == [2]


def test_float_columns_of_integers_are_accepted(tmp_path):
    table = pa.table({"user_id": [1.0, 2.0], "watch_ms": [8000.0, float("nan")]})
    assert [row["watch_ms"] for row in _rows(tmp_path, "events", table)] == [8000, None]


def test_an_unreadable_column_refuses_the_file(tmp_path):
    bad = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xe9"], pa.binary()).buffers())
    table = pa.table({"video_id": ["v"], "hashtags": pa.ListArray.from_arrays([0, 1], bad)})
    with pytest.raises(InputError, match=r"f\.parquet is not a readable Parquet file") as caught:
        _rows(tmp_path, "videos", table)
    assert "\n" not in str(caught.value)


def test_a_shared_dictionary_value_is_held_once(tmp_path):
    path, count = tmp_path / "f.parquet", 3000
    same = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), ["x" * 300_000])
    table = pa.table({"event_id": [str(n) for n in range(count)], "comment_text": same})
    pq.write_table(table, path, store_schema=False)
    limits, peak_bytes = landing.LandingLimits(max_record_bytes=100_000, max_file_bytes=10**12), 0
    for _, _, row in landing.read_records(path, LANDING_TYPES["events"], limits):
        peak_bytes, count = max(peak_bytes, pa.total_allocated_bytes()), count - 1
        assert row.reason == "too_long"
    assert count == 0
    assert peak_bytes < 100_000_000  # not 1,024 rows of 300,000 bytes


def test_an_unknown_time_zone_in_a_list_refuses_the_file(tmp_path):
    column = pa.array([[1772704800000000]], pa.list_(pa.timestamp("us", "Mars/Phobos")))
    with pytest.raises(InputError, match=r"f\.parquet is not a readable Parquet file"):
        _rows(tmp_path, "users", pa.table({"user_id": ["u"], "visits": column}))


def test_duplicate_columns_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array(["u"]), pa.array(["v"])], names=["user_id", "user_id"])
    with pytest.raises(InputError, match="two columns of one name"):
        _rows(tmp_path, "users", table)
