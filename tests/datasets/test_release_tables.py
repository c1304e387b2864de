from collections import Counter
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from datasets.release_tables import TableForm, read_table

COLUMNS = {"id": pl.String, "size": pl.Int64}


def _write(folder: Path, content: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"b,oops", "invalid_size"),
        (b"b,1.5", "invalid_size"),
        (b"b,99999999999999999999", "invalid_size"),
        (b"b,", "missing_size"),
        (b"b,NaN", "missing_size"),
        (b"b,-inf", "missing_size"),
        (b",5", "missing_id"),
        (b"b,5,6", "wrong_number_of_cells"),
        (b"b", "wrong_number_of_cells"),
        (b"\xff,5", "not_utf8"),
    ],
)
def test_a_row_that_cannot_be_used_is_counted_by_its_reason(tmp_path, row, reason):
    table = read_table(_write(tmp_path, b"id,size\na,1\n" + row + b"\n"), COLUMNS)
    assert table.records() == [{"id": "a", "size": 1}]
    assert table.rejected == Counter({reason: 1})
    assert table.summary() == f"table.csv: 2 rows in = 1 kept + 1 rejected (1 {reason})"
    with pytest.raises(InputError, match=f"1 {reason}.*get the release's own file"):
        table.require_complete()


def test_quotes_line_ends_other_columns_and_a_byte_order_mark_are_read(tmp_path):
    path = _write(tmp_path, '\ufeffsize,other,id\n 5 ,x,"a, ""b""\nc"\n\n7,,d\n')
    table = read_table(path, COLUMNS).require_complete()
    assert table.records() == [{"id": 'a, "b"\nc', "size": 5}, {"id": "d", "size": 7}]


def test_latin_1_bars_and_quotes_without_a_meaning_are_read(tmp_path):
    form = TableForm("|", is_quoted=False, encoding="latin-1", header=("id", "title"))
    path = _write(tmp_path, 'x|"Misérables, Les\ny|8"\n'.encode("latin-1"))
    rows = read_table(path, {"title": pl.String}, form).rows
    assert rows["title"].to_list() == ['"Misérables, Les', '8"']


def test_a_separator_of_two_characters_leaves_single_ones_alone(tmp_path):
    form = TableForm("::", is_quoted=False, header=("id", "title", "year"))
    path = _write(tmp_path, "1::Alien: Resurrection::1997\n")
    assert read_table(path, {"title": pl.String}, form).rows["title"].to_list() == ["Alien: Resurrection"]


def test_optional_cells_may_be_empty_but_not_invalid(tmp_path):
    path = _write(tmp_path, "id,day,size\na,2026-01-31,\nb,,nan\nc,2026-02-31,1\n")
    table = read_table(path, COLUMNS | {"day": pl.Date}, optional=["day", "size"])
    assert table.records() == [
        {"id": "a", "size": None, "day": date(2026, 1, 31)},
        {"id": "b", "size": None, "day": None},
    ]
    assert table.rejected == Counter({"invalid_day": 1})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("id,size\n", "has no rows to use"),
        ("id,size\na,x\n", r"has no rows to use.*1 invalid_size"),
        ("id\na\n", "is not the expected table .*size"),
        ("", "is not the expected table"),
        (None, "is not the expected table"),
    ],
)
def test_a_refused_table_is_named_with_the_cause(tmp_path, content, complaint):
    path = tmp_path / "nowhere.csv" if content is None else _write(tmp_path, content)
    with pytest.raises(InputError, match=complaint) as refused:
        read_table(path, COLUMNS)
    assert path.name in str(refused.value)


def test_repeated_and_unknown_ids_and_times_out_of_bounds_are_rejected(tmp_path):
    table = read_table(_write(tmp_path, "id,size\na,1\na,2\nb,3\nc,-4\nd,253402300800\n"), COLUMNS)
    known = read_table(_write(tmp_path, "id,size\na,1\nc,1\nd,1\n"), COLUMNS)
    table = table.reject_repeated("id").reject_unknown("id", known).reject_invalid_time("size")
    assert table.records() == [{"id": "a", "size": 1}]
    assert table.rejected == Counter({"duplicate_id": 1, "unknown_id": 1, "invalid_size": 2})


CELLS = st.sampled_from(["a", "b", "1", "2", "", "nan", "x y", '"q"', "é"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=1, max_size=3), min_size=1, max_size=12))
def test_rows_in_are_kept_or_rejected(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "table.csv"
    path.write_text("id,size\nfirst,1\n" + "".join(",".join(cells) + "\n" for cells in rows))
    table = read_table(path, COLUMNS).reject_repeated("id")
    num_blank = sum(cells == [""] for cells in rows)
    assert len(table.rows) + table.rejected.total() == 1 + len(rows) - num_blank
