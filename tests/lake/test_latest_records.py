from datetime import date

import pyarrow as pa

from lake.latest_records import latest_records


def test_the_newest_record_of_each_key_is_kept():
    rows = [
        ("b", date(2026, 3, 1), "f1", 9, "old day"),
        ("b", date(2026, 3, 2), "f1", 1, "old line"),
        ("b", date(2026, 3, 2), "f1", 2, "new line"),
        ("a", date(2026, 3, 2), "f1", 7, "old file"),
        ("a", date(2026, 3, 2), "f2", 3, "new file"),
    ]
    names = ["video_id", "day", "source_file", "source_line", "caption"]
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    latest = latest_records(table, "video_id")
    assert latest["video_id"].to_pylist() == ["a", "b"]
    assert latest["caption"].to_pylist() == ["new file", "new line"]


def test_an_empty_table_has_no_newest_records():
    empty = pa.table({name: pa.array([], pa.string()) for name in ("k", "day", "source_file", "source_line")})
    assert latest_records(empty, "k").num_rows == 0
