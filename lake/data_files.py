"""The Parquet files of a table's present version, and their replacement in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import FileSystem
from pyiceberg.io.pyarrow import parquet_files_to_data_files
from pyiceberg.manifest import DataFile as IcebergDataFile

from core.run_manifests import RowCountError
from core.storage import StoragePath, file_path, is_local
from lake.client import Lake


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of a table.

    Attributes:
        path: where it is.
        partition: the values of the table's partition columns.
        num_bytes: its size.
        rows: how many rows it holds.
    """

    path: StoragePath
    partition: tuple[Any, ...]
    num_bytes: int
    rows: int


@dataclass(frozen=True)
class Replacement:
    """Files of one partition, and the files that take their place.

    Attributes:
        old: the files that leave the table.
        new: the files that hold their rows; empty if no row is left.
        removed_rows: how many rows of `old` are not in `new`.
    """

    old: Sequence[DataFile]
    new: Sequence[StoragePath]
    removed_rows: int = 0


def list_data_files(lake: Lake, name: str) -> list[DataFile]:
    """Return the files of a table's present version, sorted by path. No day is hidden."""
    listed = [_data_file(task.file) for task in lake.table(name).scan().plan_files()]
    return sorted(listed, key=lambda file: file.path)


def _data_file(file: IcebergDataFile) -> DataFile:
    partition = tuple(file.partition[position] for position in range(len(file.partition)))
    return DataFile(file_path(file.file_path), partition, file.file_size_in_bytes, file.record_count)


def open_dataset(paths: Sequence[StoragePath], schema: pa.Schema) -> ds.Dataset:
    """Return Parquet files as a dataset of Arrow.

    Args:
        paths: the files, all local or all on S3.
        schema: the columns to read.
    """
    if not paths or is_local(paths[0]):
        return ds.dataset([str(path) for path in paths], schema=schema, format="parquet")
    filesystem, _ = FileSystem.from_uri(str(paths[0]))
    keys = [str(path).removeprefix("s3://") for path in paths]
    return ds.dataset(keys, schema=schema, format="parquet", filesystem=filesystem)


def replace_files(lake: Lake, name: str, replacements: Sequence[Replacement]) -> list[Replacement]:
    """Replace files in one transaction. The table's rows change only by `removed_rows`.

    A step may have replaced a partition in the meantime. Then the old files are no longer in the table, so
    their replacement is left out.

    Args:
        lake: the lake.
        name: the table.
        replacements: disjoint sets of files.

    Returns:
        The replacements that were made.

    Raises:
        RowCountError: the new files do not hold the rows of the old ones.
    """
    with lake.lock(f"commit-{name}"):
        table = lake.table(name)
        current = {file_path(task.file.file_path): task.file for task in table.scan().plan_files()}
        made = [r for r in replacements if all(file.path in current for file in r.old)]
        if not made:
            return []
        with table.transaction() as transaction, transaction.update_snapshot().overwrite() as overwrite:
            for replacement in made:
                new_paths = [str(path) for path in replacement.new]
                added = list(
                    parquet_files_to_data_files(table.io, transaction.table_metadata, iter(new_paths))
                )
                _check_rows(name, replacement, sum(file.record_count for file in added))
                for file in replacement.old:
                    overwrite.delete_data_file(current[file.path])
                for data_file in added:
                    overwrite.append_data_file(data_file)
    return made


def _check_rows(name: str, replacement: Replacement, new_rows: int) -> None:
    old_rows = sum(file.rows for file in replacement.old)
    if old_rows != new_rows + replacement.removed_rows:
        raise RowCountError(
            f"{name}: {old_rows} rows in {len(replacement.old)} files, but {new_rows} in their replacements"
            f" and {replacement.removed_rows} removed"
        )
