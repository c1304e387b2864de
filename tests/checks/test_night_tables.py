from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from checks.night_tables import NightTables, _read_files
from core.storage import storage_path
from core.tables import TABLES


def _write(path: Path, users: list[str]) -> str:
    schema = TABLES["users"].schema
    rows = [dict.fromkeys(schema.names) | {"user_id": user} for user in users]
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return str(path)


def test_small_files_are_read_in_process_and_large_ones_on_spark(tmp_path, spark_sql):
    files = {"users": [_write(tmp_path / f"{n}.parquet", [f"u{n}"]) for n in (1, 2)], "events": []}
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    query = "SELECT user_id FROM users ORDER BY user_id"
    in_process = NightTables(files, lambda: pytest.fail("Spark was started"), size)
    assert list(in_process.select(query, ["users", "events"])["user_id"]) == ["u1", "u2"]
    on_spark = NightTables(files, lambda: spark_sql, size - 1)
    assert [row.user_id for row in on_spark.select(query, ["users", "events"]).collect()] == ["u1", "u2"]


@pytest.mark.parametrize("max_bytes", [0, -1])
@pytest.mark.parametrize("name", TABLES)
def test_a_table_without_files_is_empty(spark_sql, name, max_bytes):
    rows = NightTables({name: []}, lambda: spark_sql, max_bytes).select(f"SELECT * FROM {name}", [name])
    assert list(rows.columns) == TABLES[name].schema.names


def test_files_on_s3_are_read_in_process_and_by_tasks(s3, tmp_path):
    local = Path(_write(tmp_path / "a.parquet", ["u1", "u2"]))
    remote = storage_path(f"s3://bucket/{tmp_path.name}/a.parquet")
    remote.write_bytes(local.read_bytes())
    tables = NightTables({"users": [str(remote)]}, lambda: pytest.fail("Spark was started"))
    assert list(tables.select("SELECT user_id FROM users", ["users"])["user_id"]) == ["u1", "u2"]
    (rows,) = _read_files(iter([pa.record_batch({"path": [str(remote)]})]))
    assert rows["user_id"].to_pylist() == ["u1", "u2"]
