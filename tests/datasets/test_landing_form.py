from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from core.errors import InputError
from datasets import landing_form
from datasets.landing_form import Release

DAYS = [date(2026, 3, n) for n in range(1, 6)]


def _events(users_by_day: dict[int, str]) -> Release:
    """Day of March 2026 -> the users (one letter each) with an event."""
    return Release(
        {"events": {date(2026, 3, n): [{"user_id": p} for p in who] for n, who in users_by_day.items()}}
    )


def test_a_night_needs_events_on_its_day_the_day_before_and_earlier():
    assert landing_form.possible_nights(_events({1: "ab", 2: "c", 3: "abd", 5: "a"})) == {date(2026, 3, 3): 2}
    assert landing_form.possible_nights(_events({1: "a", 2: "a"})) == {}
    assert landing_form.possible_nights(_events({})) == {}


def test_users_with_earlier_events_are_counted():
    assert landing_form.possible_nights(_events({1: "a", 4: "b", 5: "abc"})) == {date(2026, 3, 5): 2}


def test_writing_is_reproducible_and_omits_unknown_fields(tmp_path):
    written = Release({"videos": {DAYS[0]: [{"video_id": "v", "caption": None, "hashtags": ["é"]}]}})
    (path,) = landing_form.write_landing_files(written, "some", tmp_path)
    assert path.relative_to(tmp_path).as_posix() == "videos/dt=2026-03-01/some.jsonl"
    assert path.read_text(encoding="utf-8") == '{"video_id":"v","hashtags":["é"]}\n'
    before = path.read_bytes()
    landing_form.write_landing_files(written, "some", tmp_path)
    assert path.read_bytes() == before
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]


def test_a_landing_folder_with_other_files_is_refused(tmp_path):
    other = tmp_path / "users" / "dt=2026-03-01" / "other.jsonl"
    other.parent.mkdir(parents=True)
    other.write_text("{}\n")
    with pytest.raises(InputError, match=r"other\.jsonl.*--out"):
        landing_form.write_landing_files(_events({1: "a"}), "some", tmp_path)
    assert not (tmp_path / "events").exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a,b\n1,5\n2,oops\n", "oops"),
        ("a\n1\n", "'b'"),
        ("a,b\n", "no rows"),
        ("a,b\n,3\n", "column a is empty"),
        ("", "mpty"),
        ("a,b\n1\n", "is not the expected table"),
    ],
)
def test_a_refused_table_is_named_with_the_cause(tmp_path: Path, text: str, complaint: str):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint) as refused:
        landing_form.read_table(path, {"a": pa.string(), "b": pa.int64()}, nullable=["b"])
    assert "table.csv" in str(refused.value)


def test_empty_and_quoted_cells(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('b,a,c\n,"x\ny",9\n')
    assert landing_form.read_table(path, {"a": pa.string(), "b": pa.int64()}, nullable=["b"]) == [
        {"a": "x\ny", "b": None}
    ]


def test_a_time_beyond_the_year_9999_is_refused():
    with pytest.raises(InputError, match="is not a valid time in ms"):
        landing_form.utc_time(10**18)
