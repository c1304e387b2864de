"""The lake: Iceberg tables through pyiceberg. The only file that knows how they are stored.

Spark (or anything else) writes Parquet beside the table; `commit` adds those files in one transaction that
replaces the partitions named, so that a reader sees the old day or the new one, never half of it. In the same
transaction a table may remember which inputs a day was made of (`inputs`), which is how a step finds out that
a day needs no work.
"""

import json
import uuid
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import (
    AlwaysFalse,
    AlwaysTrue,
    And,
    BooleanExpression,
    EqualTo,
    In,
    LessThanOrEqual,
    Not,
    NotEqualTo,
    Or,
    parser,
)
from pyiceberg.table import DataScan, Table

from contracts import locks, place
from contracts.errors import InputError
from contracts.records import LANDED
from contracts.tables import TABLES, TableSpec

NAMESPACE = "undercurrent"
SCHEMA_PROPERTY = "undercurrent.schema"
INPUTS_PROPERTY = "undercurrent.inputs."
# Tables whose rows came with the landing folder of their `day`, or were made of such rows.
RECEIVED = ("landings", "events", "users", "videos", "features", "interactions")

Partition = Mapping[str, Any]  # column -> value, a conjunction of equalities


class Lake:
    """The tables of one warehouse, made when first asked for.

    Args:
        without: days whose received rows are not to be seen: no scan and no list of files gives them.
    """

    def __init__(
        self, catalog_uri: str | None = None, warehouse: Path | None = None, without: Collection[date] = ()
    ) -> None:
        self.without = frozenset(without)
        self._pinned: dict[str, int | None] = {}
        self.warehouse = warehouse or place.warehouse()
        self.warehouse.mkdir(parents=True, exist_ok=True)
        uri = catalog_uri or place.catalog_uri()
        with self.alone("catalog"):  # two that make its tables at once would fail
            self._catalog = SqlCatalog(NAMESPACE, uri=uri, warehouse=str(self.warehouse))
            self._catalog.create_namespace_if_not_exists(NAMESPACE)

    def alone(self, what: str) -> AbstractContextManager[Any]:
        """One at a time of those that ask for the same `what` in this lake."""
        return locks.alone(self.warehouse / f".{what}.lock", what)

    def table(self, name: str) -> Table:
        """The Iceberg table, made when missing.

        Raises:
            InputError: the table was made under another declaration of its columns, or in another folder.
        """
        spec = TABLES[name]
        identifier = f"{NAMESPACE}.{name}"
        try:
            table = self._catalog.load_table(identifier)
        except NoSuchTableError:
            with self.alone(f"create-{name}"):
                table = self._create(spec, identifier)
        self._same_place(table)
        found = table.properties.get(SCHEMA_PROPERTY)
        partition = tuple(field.name for field in table.spec().fields)
        if (found, partition) != (spec.digest, spec.partition):
            raise InputError(
                f"table {name!r} in {self.warehouse} has schema version {found}, partitioned by"
                f" {', '.join(partition) or 'nothing'}; this code needs {spec.digest}, by"
                f" {', '.join(spec.partition)}; point UNDERCURRENT_HOME at a new folder and ingest again, or"
                " run the code that made it"
            )
        return table

    def _create(self, spec: TableSpec, identifier: str) -> Table:
        """Columns and partitions in one commit: a table that was half made would stay so."""
        if self._catalog.table_exists(identifier):
            return self._catalog.load_table(identifier)
        making = self._catalog.create_table_transaction(
            identifier, schema=spec.schema, properties={SCHEMA_PROPERTY: spec.digest}
        )
        with making, making.update_spec() as update:
            for column in spec.partition:
                update.add_identity(column)
        return self._catalog.load_table(identifier)

    def _same_place(self, table: Table) -> None:
        """Iceberg notes absolute paths: a lake that was moved, or a copy, would read and write the old one.

        Raises:
            InputError: the table's folder is not below this warehouse.
        """
        location = Path(table.location().removeprefix("file://"))
        if not location.resolve().is_relative_to(self.warehouse.resolve()):
            raise InputError(
                f"the lake in {self.warehouse} was made in {location.parent.parent}, and its tables point"
                " there; move it back, or make the old path a link to the new one, or point"
                " UNDERCURRENT_HOME at a new folder and ingest again"
            )

    def pin(self, versions: Mapping[str, int | None]) -> None:
        """From now on read these tables at these versions (None: empty), whatever is committed to them."""
        self._pinned = dict(versions)

    def version(self, name: str) -> int | None:
        """The current Iceberg snapshot id; None while the table is empty."""
        if name in self._pinned:
            return self._pinned[name]
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
        inputs: Mapping[str, str | None] | None = None,
    ) -> int | None:
        """Replace partitions by files, in one transaction.

        Args:
            replace: partitions whose rows go away; none to append.
            paths: Parquet files inside the table's folder, each holding rows of a single partition.
            inputs: key (a day) -> digest of what it was made of, remembered with the table; None: forgotten.

        Returns:
            The new snapshot id (None while the table stays empty).
        """
        made = {INPUTS_PROPERTY + key: value for key, value in (inputs or {}).items()}
        with self.alone(f"commit-{name}"):
            table = self.table(name)
            gone = [key for key, value in made.items() if value is None and key in table.properties]
            with warnings.catch_warnings(), table.transaction() as transaction:
                # What a day had before may be nothing: that is no news.
                warnings.filterwarnings("ignore", "Delete operation did not match any records")
                if replace and table.current_snapshot():
                    transaction.delete(_any_of(replace))
                if paths:
                    transaction.add_files([str(path) for path in paths])
                if gone:
                    transaction.remove_properties(*gone)
                if kept := {key: value for key, value in made.items() if value is not None}:
                    transaction.set_properties(kept)
            return self.version(name)

    def has_version(self, name: str, version: int) -> bool:
        """Whether an old version can still be read."""
        return self.table(name).snapshot_by_id(version) is not None

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
        inputs: Mapping[str, str | None] | None = None,
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
        return self._scan(name, where, columns, version).to_arrow()

    def files(self, name: str, where: BooleanExpression | str | None = None) -> list[str]:
        """Paths of the Parquet files that hold the rows, for `spark.read.parquet(*paths)`.

        Only for filters on partition columns: a file is returned whole.
        """
        if self.table(name).current_snapshot() is None:
            return []
        tasks = self._scan(name, where, ("*",), None).plan_files()
        return sorted(task.file.file_path for task in tasks)

    def _scan(
        self, name: str, where: BooleanExpression | str | None, columns: Sequence[str], version: int | None
    ) -> DataScan:
        asked = parser.parse(where) if isinstance(where, str) else where or AlwaysTrue()
        if name in self._pinned and version is None:
            version = self._pinned[name]
            asked = AlwaysFalse() if version is None else asked  # it was empty when it was pinned
        return self.table(name).scan(And(asked, self._visible(name)), tuple(columns), snapshot_id=version)

    def _visible(self, name: str) -> BooleanExpression:
        """What of a table is to be seen; an encoder's vectors are, whichever night made them."""
        if not self.without or name not in RECEIVED:
            return AlwaysTrue()
        seen = Not(In("day", self.without))  # type: ignore[call-arg, arg-type]
        return Or(seen, NotEqualTo("fingerprint", LANDED)) if name == "features" else seen  # type: ignore[call-arg, arg-type]


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
