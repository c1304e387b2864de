"""The lake: Iceberg tables through pyiceberg. The only file that knows how they are stored.

Spark (or anything else) writes Parquet beside the table; `commit` adds those files in one transaction that
replaces the partitions named, so that a reader sees the old day or the new one, never half of it. In the same
transaction a table may remember which inputs a day was made of (`inputs`), which is how a step finds out that
a day needs no work.
"""

import json
import uuid
import warnings
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, EqualTo, LessThanOrEqual, Or
from pyiceberg.table import Table

from contracts import place
from contracts.errors import InputError
from contracts.tables import TABLES, TableSpec

NAMESPACE = "undercurrent"
SCHEMA_PROPERTY = "undercurrent.schema"
INPUTS_PROPERTY = "undercurrent.inputs."

Partition = Mapping[str, Any]  # column -> value, a conjunction of equalities


class Lake:
    """The tables of one warehouse, made when first asked for."""

    def __init__(self, catalog_uri: str | None = None, warehouse: Path | None = None) -> None:
        self.warehouse = warehouse or place.warehouse()
        self.warehouse.mkdir(parents=True, exist_ok=True)
        uri = catalog_uri or place.catalog_uri()
        self._catalog = SqlCatalog(NAMESPACE, uri=uri, warehouse=str(self.warehouse))
        self._catalog.create_namespace_if_not_exists(NAMESPACE)

    def table(self, name: str) -> Table:
        """The Iceberg table, made when missing.

        Raises:
            InputError: the table was made under another declaration of its columns.
        """
        spec = TABLES[name]
        identifier = f"{NAMESPACE}.{name}"
        try:
            table = self._catalog.load_table(identifier)
        except NoSuchTableError:
            table = self._create(spec, identifier)
        found = table.properties.get(SCHEMA_PROPERTY)
        if found != spec.digest:
            raise InputError(
                f"table {name!r} in {self.warehouse} has schema version {found}, "
                f"this code needs {spec.digest}; "
                "point UNDERCURRENT_HOME at a new folder and ingest again, or run the code that made it"
            )
        return table

    def _create(self, spec: TableSpec, identifier: str) -> Table:
        table = self._catalog.create_table(
            identifier, schema=spec.schema, properties={SCHEMA_PROPERTY: spec.digest}
        )
        with table.update_spec() as update:
            for column in spec.partition:
                update.add_identity(column)
        return table

    def version(self, name: str) -> int | None:
        """The current Iceberg snapshot id; None while the table is empty."""
        snapshot = self.table(name).current_snapshot()
        return snapshot.snapshot_id if snapshot else None

    def staging(self, name: str) -> Path:
        """A new folder beside the table's data, for files that `commit` will add."""
        folder = Path(self.table(name).location().removeprefix("file://")) / "data" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        return folder

    def commit(
        self,
        name: str,
        replace: Sequence[Partition],
        paths: Sequence[Path],
        inputs: Mapping[str, str] | None = None,
    ) -> int | None:
        """Replace partitions by files, in one transaction.

        Args:
            replace: partitions whose rows go away; none to append.
            paths: Parquet files inside the table's folder, each holding rows of a single partition.
            inputs: key (a day) -> digest of what it was made of, remembered with the table.

        Returns:
            The new snapshot id (None while the table stays empty).
        """
        table = self.table(name)
        with warnings.catch_warnings(), table.transaction() as transaction:
            # What a day had before may be nothing: that is no news.
            warnings.filterwarnings("ignore", "Delete operation did not match any records")
            if replace and table.current_snapshot():
                transaction.delete(_any_of(replace))
            if paths:
                transaction.add_files([str(path) for path in paths])
            if inputs:
                transaction.set_properties({INPUTS_PROPERTY + key: value for key, value in inputs.items()})
        return self.version(name)

    def inputs(self, name: str) -> dict[str, str]:
        """What `commit` was told each day was made of."""
        properties = self.table(name).properties
        return {
            key.removeprefix(INPUTS_PROPERTY): value
            for key, value in properties.items()
            if key.startswith(INPUTS_PROPERTY)
        }

    def write(
        self,
        name: str,
        rows: pa.Table,
        replace: Sequence[Partition] = (),
        inputs: Mapping[str, str] | None = None,
    ) -> int | None:
        """Replace partitions by (or append) Arrow rows, split into one file a partition."""
        spec = TABLES[name]
        rows = rows.select(spec.schema.names).cast(spec.schema)
        paths = []
        if rows.num_rows:
            folder = self.staging(name)
            for number, part in enumerate(_split(rows, spec.partition)):
                paths.append(folder / f"part-{number:05d}.parquet")
                pq.write_table(part, paths[-1])
        return self.commit(name, replace, paths, inputs)

    def scan(
        self,
        name: str,
        where: BooleanExpression | str | None = None,
        columns: Sequence[str] = ("*",),
        version: int | None = None,
    ) -> pa.Table:
        """Rows as an Arrow table, in no particular order; `version` reads an old snapshot."""
        scan = self.table(name).scan(where or AlwaysTrue(), tuple(columns), snapshot_id=version)
        return scan.to_arrow()

    def files(self, name: str, where: BooleanExpression | str | None = None) -> list[str]:
        """Paths of the Parquet files that hold the rows, for `spark.read.parquet(*paths)`.

        Only for filters on partition columns: a file is returned whole.
        """
        if self.table(name).current_snapshot() is None:
            return []
        tasks = self.table(name).scan(where or AlwaysTrue()).plan_files()
        return sorted(task.file.file_path for task in tasks)


def up_to(day: date) -> BooleanExpression:
    """Rows of a day or of an earlier one: what could be known at its end."""
    return LessThanOrEqual("day", day)  # type: ignore[call-arg, arg-type]  # pydantic hides the signature


def on(*days: date) -> BooleanExpression:
    """Rows of these days."""
    return _any_of([{"day": day} for day in days])


def _any_of(partitions: Sequence[Partition]) -> BooleanExpression:
    """A disjunction of conjunctions of equalities."""
    each = [_all_of(partition) for partition in partitions]
    return Or(*each) if len(each) > 1 else each[0]


def _all_of(partition: Partition) -> BooleanExpression:
    each = [EqualTo(column, value) for column, value in partition.items()]  # type: ignore[call-arg, arg-type]
    return And(*each) if len(each) > 1 else each[0]


def _split(rows: pa.Table, columns: Sequence[str]) -> list[pa.Table]:
    """One table for each combination of the partition columns' values, in sorted order."""
    keys = rows.select(list(columns)).to_pylist()
    groups: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(json.dumps(key, sort_keys=True, default=str), []).append(index)
    return [rows.take(groups[key]) for key in sorted(groups)]
