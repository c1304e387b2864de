import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.records import LANDING_TYPES
from core.tables import TABLES
from lake.client import Lake
from lake.forgetting import Erasure, forget_in_table, without_users
from lake.landing import LandingLimits, read_records
from lake.user_records import UserRecords
from tests.support.landing_files import DAY, at, event

USERS, LIMITS, EVENTS = UserRecords(["u7"]), LandingLimits(), LANDING_TYPES["events"]


def _event(number: int, user: str) -> dict:
    return event(number, user, "v1", "view", at(DAY, 8, number), watch_ms=1000)


def _records(path: Path) -> list[tuple[int, str]]:
    return [
        (number, result["event_id"] if isinstance(result, dict) else result.reason)
        for number, _, result in read_records(path, EVENTS)
    ]


def _forget(path: Path) -> int:
    """Replace the file, and return the number of deleted records."""
    if not (rewritten := without_users(path, EVENTS, LIMITS, USERS)):
        return 0
    copy, records = rewritten
    copy.replace(path)
    return records


def _forget_in_table(name: str) -> list[Erasure]:
    erasures: list[Erasure] = []
    forget_in_table(Lake(), name, USERS, erasures.extend)
    return erasures


LINES = [
    json.dumps(_event(1, "u7")),
    json.dumps(_event(2, "u8") | {"comment_text": "ask u7"}),
    "",
    json.dumps(_event(3, "u8")) + json.dumps(_event(4, "u7")) + json.dumps(_event(5, "u8")),
    '{"user_id": "u7", "event',
    '{"user_id": "u8", "event',
    json.dumps(_event(6, "u7") | {"watch_ms": "wrong"}),
    json.dumps(_event(7, "u8")).replace("u8", "\\u00758"),
    json.dumps(_event(8, "u7")).replace("u7", "\\u00757"),
]
LEFT = [(2, "e2"), (4, "e3"), (6, "e5"), (8, "malformed_json"), (10, "e7")]


@pytest.mark.parametrize("name", ["part.jsonl", "part.jsonl.gz", "part.gz.jsonl"])
def test_other_records_keep_their_line_numbers(tmp_path, name):
    path = tmp_path / name
    text = ("\r\n".join(LINES) + "\r\n").encode()
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert _forget(path) == 5
    assert _records(path) == LEFT
    assert _forget(path) == 0


def test_a_compressed_copy_is_the_same_at_every_time(tmp_path, monkeypatch):
    copies = []
    for now in (1.0, 2.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
        (tmp_path / "part.jsonl.gz").write_bytes(gzip.compress("\n".join(LINES).encode()))
        copies.append(without_users(tmp_path / "part.jsonl.gz", EVENTS, LIMITS, USERS)[0].read_bytes())
    assert copies[0] == copies[1]


@pytest.mark.parametrize(
    ("text", "nullable"), [(pa.string(), True), (pa.string(), False), (pa.string_view(), True)]
)
def test_a_row_of_nulls_takes_the_place_of_a_parquet_row(tmp_path, text, nullable):
    path = tmp_path / "part.parquet"
    fields = [pa.field(name, text, nullable) for name in ("event_id", "user_id")]
    rows = {"event_id": ["e1", "e2", "e3"], "user_id": ["u8", "u7", "u8"]}
    pq.write_table(pa.table(rows, pa.schema(fields)), path, row_group_size=2)
    assert _forget(path) == 1
    assert pq.read_table(path).to_pydict() == {"event_id": ["e1", None, "e3"], "user_id": ["u8", None, "u8"]}
    assert _forget(path) == 0


def test_a_file_without_the_user_is_not_written(tmp_path):
    path = tmp_path / "part.jsonl"
    path.write_text(json.dumps(_event(1, "u70")) + "\n")
    assert without_users(path, EVENTS, LIMITS, USERS) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["part.jsonl"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("part.parquet", b"PAR1 broken", "not a readable Parquet file"),
        ("part.jsonl", '{"user_id": "u7"}\n'.encode("utf-16"), "has a NUL byte at its start"),
        ("part.jsonl.gz", b"no gzip", "cannot be read"),
        ("part.jsonl.gz", gzip.compress(b"half" * 99)[:-9], "cannot be read"),
    ],
)
def test_an_unreadable_file_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} (is )?{words}"):
        without_users(tmp_path / name, EVENTS, LIMITS, USERS)


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["u7", "u8", "broken"]), max_size=8))
def test_records_that_stay_are_those_of_other_users(tmp_path_factory, users):
    path = tmp_path_factory.mktemp("landing") / "part.jsonl"
    lines = ["{" if user == "broken" else json.dumps(_event(n, user)) for n, user in enumerate(users)]
    path.write_text("".join(f"{line}\n" for line in lines))
    before = _records(path)
    deleted = _forget(path)
    assert deleted == users.count("u7")
    assert _records(path) == [record for record, user in zip(before, users, strict=True) if user != "u7"]


def test_rows_leave_a_table_with_all_its_older_versions():
    row = {"user_id": "u8", "day": DAY, "video_ids": ["a"]}
    schema = TABLES["sequences"].schema
    for user in ("u7", "u8"):
        Lake().write("sequences", pa.Table.from_pylist([row, row | {"user_id": user}], schema))
    other = Lake().scan("sequences").filter(pa.compute.field("user_id") == "u8").to_pylist()
    (erasure,) = _forget_in_table("sequences")
    assert (erasure.name, erasure.records) == ("sequences", 1)
    assert Lake().scan("sequences").to_pylist() == other
    assert len(Lake().table("sequences").metadata.snapshots) == 1
    assert not any(USERS.count_in_parquet(path) for path in Lake().warehouse.rglob("*.parquet"))


def test_a_file_with_rows_of_the_user_only_is_deleted():
    Lake().write("users", pa.Table.from_pylist([{"user_id": "u7", "day": DAY}], TABLES["users"].schema))
    (erasure,) = _forget_in_table("users")
    assert (erasure.records, erasure.digest_after) == (1, None)
    assert Lake().data_files("users") == []


def test_files_that_a_killed_run_left_are_deleted():
    left = Lake().create_staging_folder("users") / "part-0.parquet"
    pq.write_table(pa.Table.from_pylist([{"user_id": "u7", "day": DAY}], TABLES["users"].schema), left)
    assert _forget_in_table("users") == []
    assert not left.exists()
