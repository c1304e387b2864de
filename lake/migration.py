"""Bring a table of an older schema version to the present one, in one transaction.

The Iceberg schema evolves: columns are added, removed and widened. Every data file that lacks a present
column is written again, because steps read the files themselves. Rows do not change. An added column is null.

A table that is partitioned in another way cannot be migrated. Its rows have to be ingested again.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.exceptions import ValidationError
from pyiceberg.io.pyarrow import parquet_files_to_data_files, schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, Transaction

from core.errors import InputError
from core.run_manifests import RowCountError
from core.storage import StoragePath, arrow_source, create_folder, explained_errors, file_path
from core.tables import TABLES, TableSpec
from lake.client import SCHEMA_DIGEST_PROPERTY, Lake

ROW_GROUP_ROWS = 1 << 17


@dataclass(frozen=True)
class Migration:
    """What a migration changes, or would change.

    Attributes:
        table: the name of the table.
        added, removed, widened: the columns.
        files: data files to write again.
        rows: their rows.
    """

    table: str
    added: Sequence[str]
    removed: Sequence[str]
    widened: Sequence[str]
    files: int
    rows: int


def plan_migration(lake: Lake, name: str) -> Migration | None:
    """Return what the migration of a table changes, or None if it is up to date or does not exist.

    Raises:
        InputError: the table is partitioned in another way.
    """
    table, spec = lake.existing_table(name), TABLES[name]
    if table is None or table.properties.get(SCHEMA_DIGEST_PROPERTY) == spec.schema_digest:
        return None
    _check_partition(table, spec)
    old = schema_to_pyarrow(table.schema(), include_field_ids=False)
    added = [column for column in spec.schema.names if column not in old.names]
    removed = [column for column in old.names if column not in spec.schema.names]
    widened = [
        column
        for column in spec.schema.names
        if column in old.names and _plain_type(old.field(column).type) != spec.schema.field(column).type
    ]
    files = [task.file for task in table.scan().plan_files()] if added or removed or widened else []
    return Migration(name, added, removed, widened, len(files), sum(file.record_count for file in files))


def migrate_table(lake: Lake, name: str) -> Migration | None:
    """Migrate a table.

    Returns:
        What was changed, or None if nothing had to be.

    Raises:
        InputError: the table is partitioned in another way, or a column changed to a type that does not hold
            its old values.
    """
    with lake.lock(f"commit-{name}"), explained_errors(lake.warehouse):
        migration = plan_migration(lake, name)
        table, spec = lake.existing_table(name), TABLES[name]
        if migration is None or table is None:
            return None
        with table.transaction() as transaction:
            _evolve_schema(transaction, table, spec, migration)
            if migration.files:
                _rewrite_files(transaction, table, spec)
            transaction.set_properties({SCHEMA_DIGEST_PROPERTY: spec.schema_digest})
    return migration


def _check_partition(table: Table, spec: TableSpec) -> None:
    partition = tuple(field.name for field in table.spec().fields)
    if partition != spec.partition:
        raise InputError(
            f"table {spec.name!r} is partitioned by {', '.join(partition) or 'nothing'}, but this code needs"
            f" {', '.join(spec.partition)}; point UNDERCURRENT_HOME at a new folder and ingest again"
        )


def _plain_type(arrow_type: pa.DataType) -> pa.DataType:
    """Return the type that `core.tables` declares for what pyiceberg reads: text is never large there."""
    if pa.types.is_large_string(arrow_type):
        return pa.string()
    if pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type):
        return pa.list_(_plain_type(arrow_type.value_type))
    if pa.types.is_map(arrow_type):
        return pa.map_(_plain_type(arrow_type.key_type), _plain_type(arrow_type.item_type))
    return arrow_type


def _evolve_schema(transaction: Transaction, table: Table, spec: TableSpec, migration: Migration) -> None:
    """Change the columns, and put added ones at the place that a new table gives them."""
    names = spec.schema.names
    try:
        with transaction.update_schema() as update:
            update.union_by_name(spec.schema)
            for column in migration.added:
                before = names.index(column) - 1
                if before >= 0:
                    update.move_after(column, names[before])
                else:
                    update.move_first(column)
    except (ValidationError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"table {spec.name!r} cannot be migrated, because a column changed to a type that does not hold"
            f" its values ({reason}); point UNDERCURRENT_HOME at a new folder and ingest again"
        ) from None
    if migration.removed:
        with transaction.update_schema(allow_incompatible_changes=True) as update:
            for column in migration.removed:
                update.delete_column(column)


def _rewrite_files(transaction: Transaction, table: Table, spec: TableSpec) -> None:
    """Replace every data file by one with the present columns.

    Raises:
        RowCountError: a new file does not hold the rows of the old one.
    """
    folder = file_path(table.location()) / "data" / uuid.uuid4().hex
    create_folder(folder)
    with transaction.update_snapshot().overwrite() as overwrite:
        for number, task in enumerate(table.scan().plan_files()):
            new_path = folder / f"part-{number:05d}.parquet"
            _rewrite_file(file_path(task.file.file_path), new_path, spec)
            overwrite.delete_data_file(task.file)
            overwrite.append_data_file(_added_file(transaction, table, new_path, task.file))


def _added_file(transaction: Transaction, table: Table, path: StoragePath, old: DataFile) -> DataFile:
    (new,) = parquet_files_to_data_files(table.io, transaction.table_metadata, iter([str(path)]))
    if new.record_count != old.record_count:
        raise RowCountError(f"{path} has {new.record_count} rows, but {old.file_path} has {old.record_count}")
    return new


def _rewrite_file(old_path: StoragePath, new_path: StoragePath, spec: TableSpec) -> None:
    with new_path.open("wb") as file, pq.ParquetWriter(file, spec.schema) as writer:
        for batch in _read_batches(old_path):
            columns = [
                batch[field.name].cast(field.type)
                if field.name in batch.column_names
                else pa.nulls(batch.num_rows, field.type)
                for field in spec.schema
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=spec.schema))


def _read_batches(path: StoragePath) -> Iterator[pa.Table]:
    for batch in pq.ParquetFile(arrow_source(path)).iter_batches(ROW_GROUP_ROWS):
        yield pa.Table.from_batches([batch])
