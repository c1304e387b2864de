"""Write rows as Parquet files that `Lake.commit` can add."""

import polars as pl
import pyarrow.parquet as pq

from core.storage import StoragePath, explained_errors
from core.tables import DICTIONARY_COLUMNS, TableSpec


def stage_parquet(
    rows: pl.DataFrame,
    spec: TableSpec,
    order: list[str],
    folder: StoragePath,
    bucket: int,
    row_group_rows: int = 1 << 20,
) -> list[StoragePath]:
    """Write rows into a staging folder of their table. Readers see them only after the commit.

    Args:
        rows: rows with the table's columns.
        spec: the table.
        order: columns by which a file is sorted.
        folder: the staging folder (`Lake.create_staging_folder`).
        bucket: number of the bucket that holds the rows. It is part of the names of the files.
        row_group_rows: rows of a row group. A reader of a range of keys skips other row groups.

    Returns:
        The paths of the files, one for each `day`.
    """
    paths: list[StoragePath] = []
    days = rows.sort(order).partition_by("day", maintain_order=True, as_dict=True)
    for (day,), rows_of_day in sorted(days.items()):
        paths.append(folder / f"{day}-{bucket:05d}.parquet")
        with explained_errors(folder), paths[-1].open("wb") as file:
            table = rows_of_day.select(spec.schema.names).to_arrow().cast(spec.schema)
            dictionaries = DICTIONARY_COLUMNS.get(spec.name, True)
            pq.write_table(table, file, row_group_size=row_group_rows, use_dictionary=dictionaries)
    return paths
