"""The lake: Iceberg tables through pyiceberg. Steps use pyiceberg through this module only.

A writer such as Spark puts Parquet files in a staging folder of the table. `commit` adds these files and
replaces partitions in one transaction. So a reader sees the old day or the new one, never a part of it.

The same transaction can store a digest of the inputs of each day. From these input digests a step finds out
that a day needs no work.
"""

import json
import uuid
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import (
    AlwaysFalse,
    AlwaysTrue,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThan,
    In,
    LessThanOrEqual,
    Not,
    NotEqualTo,
    Or,
    parser,
)
from pyiceberg.table import DataScan, Table

from core import locks, paths
from core.errors import InputError
from core.records import LANDED_FINGERPRINT
from core.storage import (
    StoragePath,
    create_folder,
    explained_errors,
    iceberg_properties,
    is_local,
    require_access,
    storage_path,
)
from core.tables import TABLES, TableSpec

NAMESPACE = "undercurrent"
EPOCH = date(1970, 1, 1)  # Iceberg counts the days of a partition from here
SCHEMA_DIGEST_PROPERTY = "undercurrent.schema"
INPUT_DIGEST_PREFIX = "undercurrent.inputs."
METADATA_PROPERTIES = {
    # Every commit writes a metadata file. pyiceberg then deletes all but the newest ones.
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "10",
    # The metadata of a deleted file keeps its smallest and largest values. They must not name a user.
    "write.metadata.metrics.column.user_id": "counts",
    "write.metadata.metrics.column.record": "counts",
}
# Tables whose rows come from the landing folder of their `day`, directly or through another table.
TABLES_HIDDEN_BY_DAY = (
    "landings",
    "events",
    "users",
    "videos",
    "features",
    "interactions",
    "item_statistics",
)

Partition = Mapping[str, Any]  # column -> value, or a frozenset of values; a conjunction


class Lake:
    """The tables of one warehouse. Each is created at its first use.

    Args:
        catalog_uri: address of the Iceberg catalog; default `core.paths.catalog_uri()`.
        warehouse: root folder of the tables; default `core.paths.warehouse()`.
        hidden_days: days whose received rows are left out of scans and file lists.
    """

    def __init__(
        self,
        catalog_uri: str | None = None,
        warehouse: StoragePath | None = None,
        hidden_days: Collection[date] = (),
    ) -> None:
        self.hidden_days = frozenset(hidden_days)
        self._pinned_versions: dict[str, int | None] = {}
        self.warehouse = warehouse or paths.warehouse()
        require_access(self.warehouse)
        create_folder(self.warehouse)
        with self.lock("catalog"):  # two processes must not create its tables at the same time
            self._catalog = _load_catalog(catalog_uri or paths.catalog_uri(), self.warehouse)
            self._catalog.create_namespace_if_not_exists(NAMESPACE)

    def lock(self, name: str) -> AbstractContextManager[Any]:
        """Return a context manager that one process at a time can hold, for each name in this lake."""
        folder = self.warehouse if is_local(self.warehouse) else paths.home() / "lake"
        return locks.exclusive_lock(folder / f".{name}.lock", name)

    def table(self, name: str) -> Table:
        """Return the Iceberg table. It is created if it is missing.

        Raises:
            InputError: the table has other columns or partitions, or was created in another folder.
        """
        spec = TABLES[name]
        table = self.existing_table(name)
        if table is None:
            with explained_errors(self.warehouse), self.lock(f"create-{name}"):
                table = self._create(spec, f"{NAMESPACE}.{name}")
        schema_digest = table.properties.get(SCHEMA_DIGEST_PROPERTY)
        partition = tuple(field.name for field in table.spec().fields)
        if (schema_digest, partition) != (spec.schema_digest, spec.partition):
            raise InputError(
                f"table {name!r} in {self.warehouse} has the schema digest {schema_digest}, partitioned by"
                f" {', '.join(partition) or 'nothing'}; this code needs {spec.schema_digest}, partitioned by"
                f" {', '.join(spec.partition)}; run `undercurrent migrate`, or the version of the code that"
                " created the table"
            )
        return table

    def existing_table(self, name: str) -> Table | None:
        """Return the Iceberg table of any schema version, or None if it is missing.

        Raises:
            InputError: the table was created in another folder.
        """
        with explained_errors(self.warehouse):
            try:
                table = self._catalog.load_table(f"{NAMESPACE}.{name}")
            except NoSuchTableError:
                return None
        self._check_location(table)
        return table

    def _create(self, spec: TableSpec, identifier: str) -> Table:
        """Create columns and partitions in one commit, so that a kill leaves no table without partitions."""
        if self._catalog.table_exists(identifier):
            return self._catalog.load_table(identifier)
        transaction = self._catalog.create_table_transaction(
            identifier,
            schema=spec.schema,
            properties={SCHEMA_DIGEST_PROPERTY: spec.schema_digest, **METADATA_PROPERTIES},
        )
        with transaction, transaction.update_spec() as update:
            for column in spec.partition:
                update.add_identity(column)
        return self._catalog.load_table(identifier)

    def _check_location(self, table: Table) -> None:
        """Refuse a lake that was moved or copied.

        Iceberg stores absolute paths, so such a lake would read and write the old folder.

        Raises:
            InputError: the table's folder is not below this warehouse.
        """
        location = storage_path(table.location().removeprefix("file://"))
        if storage_path(str(self.warehouse)) not in location.parents:
            raise InputError(
                f"the lake in {self.warehouse} was made in {location.parent.parent}, and its tables point"
                " there; move it back, or make the old path a link to the new one, or point"
                " UNDERCURRENT_HOME at a new folder and ingest again"
            )

    def pin(self, versions: Mapping[str, int | None]) -> None:
        """Read these tables at fixed versions from now on, whatever is committed later. All earlier pins end.

        Args:
            versions: table name -> Iceberg snapshot id, or None to read the table as empty.
        """
        self._pinned_versions = dict(versions)

    def version(self, name: str) -> int | None:
        """Return the pinned or current Iceberg snapshot id, or None if nothing was ever written."""
        if name in self._pinned_versions:
            return self._pinned_versions[name]
        snapshot = self.table(name).current_snapshot()
        return snapshot.snapshot_id if snapshot else None

    def create_staging_folder(self, name: str) -> StoragePath:
        """Create a folder inside the table's folder, for files that `commit` will add."""
        location = storage_path(self.table(name).location().removeprefix("file://"))
        folder = location / "data" / uuid.uuid4().hex
        create_folder(folder)
        return folder

    def commit(
        self,
        name: str,
        replaced_partitions: Sequence[Partition],
        file_paths: Sequence[StoragePath],
        input_digests: Mapping[str, str | None] | None = None,
    ) -> int | None:
        """Replace partitions by files in one transaction.

        Args:
            name: the table.
            replaced_partitions: partitions whose rows are deleted; empty to append.
            file_paths: Parquet files inside the table's folder, each with the rows of one partition.
            input_digests: key (a day) -> digest of its inputs, stored with the table. None deletes the key.

        Returns:
            The current Iceberg snapshot id (the pinned one if pinned), or None if nothing was ever written.
        """
        new_properties = {INPUT_DIGEST_PREFIX + key: value for key, value in (input_digests or {}).items()}
        with self.lock(f"commit-{name}"):
            table = self.table(name)
            removed_keys = [
                key for key, value in new_properties.items() if value is None and key in table.properties
            ]
            with (
                explained_errors(self.warehouse),
                warnings.catch_warnings(),
                table.transaction() as transaction,
            ):
                # A new day has no rows to delete, which pyiceberg warns of.
                warnings.filterwarnings("ignore", "Delete operation did not match any records")
                if replaced_partitions and table.current_snapshot():
                    transaction.delete(_any_of(replaced_partitions))
                if file_paths:
                    transaction.add_files([str(path) for path in file_paths])
                if removed_keys:
                    transaction.remove_properties(*removed_keys)
                if set_properties := {
                    key: value for key, value in new_properties.items() if value is not None
                }:
                    transaction.set_properties(set_properties)
            return self.version(name)

    def has_version(self, name: str, version: int) -> bool:
        """Return whether an old version of a table can still be read."""
        return self.table(name).snapshot_by_id(version) is not None

    def input_digests(self, name: str) -> dict[str, str]:
        """Return key (a day) -> digest of its inputs, as stored by `commit`."""
        properties = self.table(name).properties
        return {
            key.removeprefix(INPUT_DIGEST_PREFIX): value
            for key, value in properties.items()
            if key.startswith(INPUT_DIGEST_PREFIX)
        }

    def write(
        self,
        name: str,
        rows: pa.Table,
        replaced_partitions: Sequence[Partition] = (),
        input_digests: Mapping[str, str | None] | None = None,
    ) -> int | None:
        """Write Arrow rows as one file for each partition and commit them.

        Args:
            name: the table.
            rows: the rows; their columns are cast to the table's schema.
            replaced_partitions, input_digests: as for `commit`.

        Returns:
            The current Iceberg snapshot id (the pinned one if pinned), or None if nothing was ever written.
        """
        spec = TABLES[name]
        rows = rows.select(spec.schema.names).cast(spec.schema)
        file_paths = []
        if rows.num_rows:
            folder = self.create_staging_folder(name)
            for number, part in enumerate(_split_by_partition(rows, spec.partition)):
                file_paths.append(folder / f"part-{number:05d}.parquet")
                with explained_errors(self.warehouse), file_paths[-1].open("wb") as file:
                    pq.write_table(part, file)
        return self.commit(name, replaced_partitions, file_paths, input_digests)

    def scan(
        self,
        name: str,
        row_filter: BooleanExpression | str | None = None,
        columns: Sequence[str] = ("*",),
        version: int | None = None,
    ) -> pa.Table:
        """Read rows as an Arrow table, in no particular order.

        Args:
            name: the table.
            row_filter: an Iceberg expression or its text; default all rows.
            columns: the columns to read; default all.
            version: an old Iceberg snapshot id; default the pinned or current one.
        """
        with explained_errors(self.warehouse):
            return self._scan(name, row_filter, columns, version).to_arrow()

    def data_files(self, name: str, row_filter: BooleanExpression | str | None = None) -> list[str]:
        """Return the paths of the Parquet files that hold the rows.

        The filter may use partition columns only, because each file is read as a whole.
        """
        if self.table(name).current_snapshot() is None:
            return []
        with explained_errors(self.warehouse):
            tasks = self._scan(name, row_filter, ("*",), None).plan_files()
            return sorted(task.file.file_path for task in tasks)

    def data_files_by_day(
        self, name: str, row_filter: BooleanExpression | str | None = None
    ) -> dict[date, list[str]]:
        """Return partition day -> the paths of its Parquet files. The filter is as for `data_files`."""
        if self.table(name).current_snapshot() is None:
            return {}
        position = TABLES[name].partition.index("day")
        files: dict[date, list[str]] = {}
        with explained_errors(self.warehouse):
            for task in self._scan(name, row_filter, ("*",), None).plan_files():
                day = EPOCH + timedelta(task.file.partition[position])
                files.setdefault(day, []).append(task.file.file_path)
        return {day: sorted(paths) for day, paths in sorted(files.items())}

    def lazy_scan(self, name: str, row_filter: BooleanExpression | str | None = None) -> pl.LazyFrame:
        """Return a polars query over the rows. It reads only what its result needs.

        The filter may use partition columns only, as for `data_files`.
        """
        paths = self.data_files(name, row_filter)
        return pl.scan_parquet(paths) if paths else pl.LazyFrame(TABLES[name].schema.empty_table())

    def _scan(
        self,
        name: str,
        row_filter: BooleanExpression | str | None,
        columns: Sequence[str],
        version: int | None,
    ) -> DataScan:
        expression = parser.parse(row_filter) if isinstance(row_filter, str) else row_filter or AlwaysTrue()
        if name in self._pinned_versions and version is None:
            version = self._pinned_versions[name]
            expression = AlwaysFalse() if version is None else expression  # pinned while it was empty
        return self.table(name).scan(
            And(expression, self._visibility_filter(name)), tuple(columns), snapshot_id=version
        )

    def _visibility_filter(self, name: str) -> BooleanExpression:
        """Exclude rows of the hidden days. Vectors that an encoder computed stay visible."""
        if not self.hidden_days or name not in TABLES_HIDDEN_BY_DAY:
            return AlwaysTrue()
        visible = Not(In("day", self.hidden_days))  # type: ignore[call-arg, arg-type]
        return Or(visible, NotEqualTo("fingerprint", LANDED_FINGERPRINT)) if name == "features" else visible  # type: ignore[call-arg, arg-type]


def _load_catalog(uri: str, warehouse: StoragePath) -> Catalog:
    """Return the Iceberg catalog: a REST catalog for an http address, else tables of a database."""
    kind = "rest" if uri.startswith(("http://", "https://")) else "sql"
    return load_catalog(NAMESPACE, type=kind, uri=uri, warehouse=str(warehouse), **iceberg_properties())


def up_to_day(day: date) -> BooleanExpression:
    """Return a filter for the rows of a day and of all earlier days."""
    return LessThanOrEqual("day", day)  # type: ignore[call-arg, arg-type]  # pydantic hides the signature


def days_between(start: date, end: date) -> BooleanExpression:
    """Return a filter for the rows of the days after `start` up to `end`."""
    return And(GreaterThan("day", start), up_to_day(end))  # type: ignore[call-arg, arg-type]


def on_days(*days: date) -> BooleanExpression:
    """Return a filter for the rows of some days. At least one day is needed."""
    return _any_of([{"day": day} for day in days])


def _any_of(partitions: Sequence[Partition]) -> BooleanExpression:
    """Return a filter for the rows of any of the partitions."""
    conditions = [_all_of(partition) for partition in partitions]
    return Or(*conditions) if len(conditions) > 1 else conditions[0]


def _all_of(partition: Partition) -> BooleanExpression:
    conditions = [
        In(column, value) if isinstance(value, frozenset) else EqualTo(column, value)  # type: ignore[call-arg, arg-type]
        for column, value in partition.items()
    ]
    return And(*conditions) if len(conditions) > 1 else conditions[0]


def _split_by_partition(rows: pa.Table, columns: Sequence[str]) -> list[pa.Table]:
    """Split rows into one table for each combination of partition values, in sorted order."""
    keys = rows.select(list(columns)).to_pylist()
    groups: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(json.dumps(key, sort_keys=True, default=str), []).append(index)
    return [rows.take(groups[key]) for key in sorted(groups)]
