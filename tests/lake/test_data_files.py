from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.run_manifests import RowCountError
from core.tables import LANDINGS
from lake.client import Lake
from lake.data_files import Replacement, list_data_files, replace_files

DAY = date(2026, 3, 1)


def _write(*paths: str) -> None:
    row = {"kind": "events", "day": DAY, "digest": "d", "rows": 1, "kept": 1, "rejected": 0}
    for path in paths:
        Lake().write("landings", pa.Table.from_pylist([row | {"path": path}], LANDINGS.schema))


def _replacement(removed_rows: int = 0) -> Replacement:
    """Return a replacement of the first two files by one with the rows of both."""
    lake = Lake()
    old = list_data_files(lake, "landings")[:2]
    new = lake.create_staging_folder("landings") / "part-0.parquet"
    pq.write_table(pa.concat_tables([pq.read_table(file.path, partitioning=None) for file in old]), new)
    return Replacement(old, [new], removed_rows)


def _paths() -> list[str]:
    return sorted(Lake().scan("landings")["path"].to_pylist())


def test_files_are_listed_with_their_partition_size_and_rows():
    _write("a", "b")
    files = list_data_files(Lake(), "landings")
    assert [(file.partition[1], file.rows) for file in files] == [("events", 1)] * 2
    assert all(file.num_bytes == file.path.stat().st_size for file in files)


def test_replaced_files_leave_in_one_transaction():
    _write("a", "b", "c")
    versions = len(Lake().table("landings").metadata.snapshots)
    replacement = _replacement()
    assert replace_files(Lake(), "landings", [replacement]) == [replacement]
    assert _paths() == ["a", "b", "c"]
    assert len(list_data_files(Lake(), "landings")) == 2
    assert len(Lake().table("landings").metadata.snapshots) == versions + 1


def test_a_partition_that_a_step_replaced_stays_as_the_step_wrote_it():
    _write("a", "b")
    replacement = _replacement()
    Lake().commit("landings", [{"day": DAY}], [])
    _write("new")
    assert replace_files(Lake(), "landings", [replacement]) == []
    assert _paths() == ["new"]


def test_lost_rows_are_an_error_and_nothing_is_replaced():
    _write("a", "b")
    with pytest.raises(RowCountError, match="landings: 2 rows in 2 files, but 2 in"):
        replace_files(Lake(), "landings", [_replacement(removed_rows=1)])
    assert len(list_data_files(Lake(), "landings")) == 2
