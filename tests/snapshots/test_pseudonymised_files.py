from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.hashing import hash_folder
from core.pseudonyms import PseudonymKey
from snapshots import pseudonymised_files
from snapshots.pseudonymised_files import pseudonymise_files

KEY = PseudonymKey("0123456789abcdef" * 2)
SCHEMA = pa.schema({"user_id": pa.string(), "video_rows": pa.list_(pa.int32())})
users = st.lists(st.tuples(st.text(max_size=3), st.lists(st.integers(0, 9), max_size=3)), max_size=20)


def _write(path: Path, rows: list[tuple[str, list[int]]], group_size: int) -> None:
    columns = {"user_id": [user for user, _ in rows], "video_rows": [videos for _, videos in rows]}
    pq.write_table(pa.table(columns, SCHEMA), path, row_group_size=group_size)


def _pseudonymised(
    rows: list[tuple[str, list[int]]], group_size: int, bucket_bytes: int
) -> tuple[list, dict]:
    """Return the rows of the file after the call, and the digests of its folder."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pseudonymised_files, "BUCKET_BYTES", bucket_bytes)
        path = Path(folder) / "sequences.parquet"
        _write(path, rows, group_size)
        pseudonymise_files(path.parent, KEY)
        assert list(path.parent.iterdir()) == [path]
        assert pq.read_schema(path).equals(SCHEMA)
        table = pq.read_table(path).to_pydict()
        return list(zip(table["user_id"], table["video_rows"], strict=True)), hash_folder(path.parent)


@given(users, st.integers(1, 9), st.sampled_from([1 << 28, 40]))
def test_rows_have_pseudonyms_and_are_in_their_order(rows, group_size, bucket_bytes):
    found, _ = _pseudonymised(rows, group_size, bucket_bytes)
    named = [(KEY.pseudonym(user), videos) for user, videos in rows]
    assert found == sorted(named, key=lambda row: row[0])  # stable: a user's rows keep their order


def test_the_order_of_the_users_has_no_effect():
    rows = [(f"u{n}", [n]) for n in range(50)]
    assert _pseudonymised(rows, 50, 1 << 28) == _pseudonymised(rows[::-1], 50, 1 << 28)


def test_small_buckets_give_the_same_rows():
    rows = [(f"u{n}", [n]) for n in range(50)]
    assert _pseudonymised(rows, 7, 40)[0] == _pseudonymised(rows, 50, 1 << 28)[0]


def test_files_without_users_stay_as_they_are(tmp_path):
    pq.write_table(pa.table({"video_id": ["v1"], "author_id": ["u1"]}), tmp_path / "catalogue.parquet")
    before = hash_folder(tmp_path)
    pseudonymise_files(tmp_path, KEY)
    assert hash_folder(tmp_path) == before
