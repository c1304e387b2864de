from datetime import UTC, date, datetime

import polars as pl
import pyarrow.parquet as pq

from core.tables import INTERACTIONS, REJECTS
from lake.client import Lake
from spark_jobs.staging import stage_parquet

DAYS = (date(2026, 3, 4), date(2026, 3, 5))


def _rejects(lines: list[int], day: date) -> pl.DataFrame:
    rows = [{"source_line": line, "source_file": "f", "day": day, "step": "clean"} for line in lines]
    return pl.DataFrame([dict.fromkeys(REJECTS.schema.names) | row for row in rows], REJECTS.schema.names)


def test_each_day_is_one_sorted_file_that_the_lake_can_add():
    lake = Lake()
    rows = pl.concat([_rejects([3, 1, 2], DAYS[1]), _rejects([5, 4], DAYS[0])], how="vertical_relaxed")
    folder = lake.create_staging_folder("rejects")
    paths = stage_parquet(rows, REJECTS, ["source_file", "source_line"], folder, bucket=7)
    assert [path.name for path in paths] == [f"{day}-00007.parquet" for day in DAYS]
    assert [pq.read_table(path)["source_line"].to_pylist() for path in paths] == [[4, 5], [1, 2, 3]]
    assert pq.read_schema(paths[0]).equals(REJECTS.schema)
    lake.commit("rejects", [], paths)
    assert sorted(lake.scan("rejects")["source_line"].to_pylist()) == [1, 2, 3, 4, 5]


def test_a_file_has_row_groups_of_the_wanted_size(tmp_path):
    rows = _rejects([3, 1, 2], DAYS[0])
    (path,) = stage_parquet(rows, REJECTS, ["source_line"], tmp_path, 0, row_group_rows=2)
    groups = [pq.ParquetFile(path).read_row_group(number)["source_line"].to_pylist() for number in range(2)]
    assert groups == [[1, 2], [3]]


def test_no_rows_give_no_file(tmp_path):
    assert stage_parquet(_rejects([1], DAYS[0]).clear(), REJECTS, ["source_line"], tmp_path, 0) == []


def test_microseconds_are_kept(tmp_path):
    time = datetime(2026, 3, 5, 1, 2, 3, 456789, UTC)
    row = dict.fromkeys(INTERACTIONS.schema.names) | {"day": DAYS[1], "started_at": time}
    rows = pl.DataFrame([row], schema_overrides={"started_at": pl.Datetime("us", "UTC")})
    (path,) = stage_parquet(rows, INTERACTIONS, ["started_at"], tmp_path, 0)
    assert pq.read_table(path)["started_at"].to_pylist() == [time]
