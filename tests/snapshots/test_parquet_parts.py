import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snapshots.parquet_parts import ParquetParts


def test_parts_are_appended_in_order(tmp_path):
    with ParquetParts(tmp_path) as files:
        for part in ([2, 1], [], [3]):
            files.append("numbers", pa.table({"n": pa.array(part, pa.int64())}))
        files.append("others", pa.table({"n": [7]}))
    assert pq.read_table(tmp_path / "numbers.parquet")["n"].to_pylist() == [2, 1, 3]
    assert pq.read_table(tmp_path / "others.parquet")["n"].to_pylist() == [7]
    assert files.num_rows == {"numbers": 3, "others": 1}


def test_one_part_is_written_like_a_table(tmp_path):
    table = pa.table({"user_id": ["a", "b"], "rows": [[1, 2], []]})
    with ParquetParts(tmp_path) as files:
        files.append("part", table)
    pq.write_table(table, tmp_path / "whole.parquet")
    assert (tmp_path / "part.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_other_columns_are_refused(tmp_path):
    with ParquetParts(tmp_path) as files:
        files.append("numbers", pa.table({"n": [1]}))
        with pytest.raises(ValueError, match="schema"):
            files.append("numbers", pa.table({"n": ["text"]}))
