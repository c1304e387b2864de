from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from contracts.errors import InputError
from tasks.importers import release
from tasks.importers.release import Release

DAYS = [date(2026, 3, n) for n in range(1, 6)]


def _events(people: dict[int, str]) -> Release:
    """Day of March 2026 -> the people (one letter each) with an event."""
    return Release({"events": {date(2026, 3, n): [{"user_id": p} for p in who] for n, who in people.items()}})


def test_a_night_needs_events_on_its_day_the_day_before_and_earlier():
    assert release.nights(_events({1: "ab", 2: "c", 3: "abd", 5: "a"})) == {date(2026, 3, 3): 2}
    assert release.nights(_events({1: "a", 2: "a"})) == {}
    assert release.nights(_events({})) == {}


def test_people_who_came_before_are_counted_whenever_that_was():
    assert release.nights(_events({1: "a", 4: "b", 5: "abc"})) == {date(2026, 3, 5): 2}


def test_writing_twice_gives_the_same_bytes_and_leaves_unknown_fields_out(tmp_path):
    written = Release({"videos": {DAYS[0]: [{"video_id": "v", "caption": None, "hashtags": ["é"]}]}})
    (path,) = release.write(written, "some", tmp_path)
    assert path.relative_to(tmp_path).as_posix() == "videos/dt=2026-03-01/some.jsonl"
    assert path.read_text(encoding="utf-8") == '{"video_id":"v","hashtags":["é"]}\n'
    before = path.read_bytes()
    release.write(written, "some", tmp_path)
    assert path.read_bytes() == before
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_a_landing_folder_with_files_of_something_else_is_refused_and_left_alone(tmp_path):
    other = tmp_path / "users" / "dt=2026-03-01" / "other.jsonl"
    other.parent.mkdir(parents=True)
    other.write_text("{}\n")
    with pytest.raises(InputError, match=r"other\.jsonl.*--out"):
        release.write(_events({1: "a"}), "some", tmp_path)
    assert not (tmp_path / "events").exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a,b\n1,5\n2,oops\n", "oops"),
        ("a\n1\n", "'b'"),
        ("a,b\n", "no rows"),
        ("a,b\n,3\n", "column a is empty"),
        ("", "mpty"),
        ("a,b\n1\n", "is not the table expected"),
    ],
)
def test_a_table_that_is_not_as_expected_is_refused_by_file_and_cause(
    tmp_path: Path, text: str, complaint: str
):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint) as refused:
        release.read_table(path, {"a": pa.string(), "b": pa.int64()}, optional=["b"])
    assert "table.csv" in str(refused.value)


def test_empty_cells_of_optional_columns_are_unknown_and_quoted_cells_may_span_lines(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('b,a,c\n,"x\ny",9\n')
    assert release.read_table(path, {"a": pa.string(), "b": pa.int64()}, optional=["b"]) == [
        {"a": "x\ny", "b": None}
    ]


def test_a_time_beyond_the_year_9999_is_refused_in_a_sentence():
    with pytest.raises(InputError, match="is no epoch time in ms"):
        release.instant(10**18)
