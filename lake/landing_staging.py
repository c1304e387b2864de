"""Write the rows and rejects of landing files to Parquet files in staging folders of the lake.

A task runs in this process or on a Spark executor. It needs the paths in it and nothing else.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from operator import attrgetter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.records import LANDING_TYPES, LandingType
from core.storage import StoragePath, explained_errors
from core.tables import DICTIONARY_COLUMNS, REJECTS, TableSpec
from lake.landing import LandingLimits, record_text
from lake.landing_batches import LINE, LandingBatch, read_batches
from lake.landing_digests import LandingFile
from lake.landing_parts import FilePart
from lake.schema_changes import FileSchema


@dataclass(frozen=True)
class StagingTask:
    """Parts of the landing files of one day that are staged together.

    Attributes:
        type_name: the name of their landing type.
        day: the day received.
        parts: the parts, most of which are whole files.
        row_path: where the rows are written.
        reject_path: where the rejects are written.
        limits: limits of a file.
        batch_rows: records in memory at a time.
    """

    type_name: str
    day: date
    parts: Sequence[FilePart]
    row_path: StoragePath
    reject_path: StoragePath
    limits: LandingLimits
    batch_rows: int


@dataclass(frozen=True)
class StagedPart:
    """The counts of a part.

    Attributes:
        file: its file.
        kept: its accepted records.
        rejected: its refused records.
        schema: what its records have of the agreed fields.
    """

    file: LandingFile
    kept: int
    rejected: int
    schema: FileSchema


@dataclass(frozen=True)
class StagedFiles:
    """The result of a task.

    Attributes:
        type_name: the name of the landing type.
        parts: the counts of each part.
        reasons: reason -> rejects.
        row_paths: the written file of rows, or nothing if no row was kept.
        reject_paths: the written file of rejects, or nothing.
    """

    type_name: str
    parts: list[StagedPart]
    reasons: Counter[str]
    row_paths: list[StoragePath]
    reject_paths: list[StoragePath]


def stage_files(task: StagingTask) -> StagedFiles:
    """Read the parts of a task, and write their rows and rejects.

    Raises:
        InputError: a file cannot be read or is too large.
    """
    landing_type = LANDING_TYPES[task.type_name]
    parts, reasons = [], Counter[str]()
    with (
        _LazyWriter(task.row_path, landing_type.table) as rows,
        _LazyWriter(task.reject_path, REJECTS) as rejects,
    ):
        for part in task.parts:
            kept = rejected = 0
            schema = FileSchema(landing_type)
            for batch in _read_part(part, landing_type, task):
                schema.add(batch)
                rows.write(_with_source(batch.rows, part.file, task.day, landing_type))
                rejects.write(_reject_rows(batch, part.file, task))
                reasons.update(reject.rejected.reason for reject in batch.rejects)
                kept, rejected = kept + batch.rows.num_rows, rejected + len(batch.rejects)
            parts.append(StagedPart(part.file, kept, rejected, schema))
    return StagedFiles(task.type_name, parts, reasons, rows.written_paths, rejects.written_paths)


def ledger_entries(parts: Iterable[StagedPart]) -> list[dict[str, Any]]:
    """Return the rows of the table `landings`, one for each file.

    Args:
        parts: all parts of the files. Those of a file follow each other.

    Raises:
        InputError: the schema of the records of a file has changed.
    """
    return [_ledger_entry(file, list(group)) for file, group in groupby(parts, attrgetter("file"))]


def _ledger_entry(file: LandingFile, parts: Sequence[StagedPart]) -> dict[str, Any]:
    for part in parts[1:]:
        parts[0].schema.merge(part.schema)
    parts[0].schema.require_unchanged(file.path)
    kept, rejected = sum(part.kept for part in parts), sum(part.rejected for part in parts)
    source = {"kind": file.type_name, "day": file.day, "path": file.name, "digest": file.digest}
    return source | {"rows": kept + rejected, "kept": kept, "rejected": rejected}


def _read_part(part: FilePart, landing_type: LandingType, task: StagingTask) -> Iterator[LandingBatch]:
    return read_batches(
        part.file.path, landing_type, task.limits, task.batch_rows, part.byte_range, part.first_line
    )


def _with_source(rows: pa.Table, file: LandingFile, day: date, landing_type: LandingType) -> pa.Table:
    """Return the rows with the columns of their source."""
    columns = {name: rows[name] for name in rows.schema.names}
    columns["day"] = pa.repeat(pa.scalar(day, pa.date32()), rows.num_rows)
    columns["source_file"] = pa.repeat(file.name, rows.num_rows)
    if "source" in landing_type.table.schema.names:  # orders the deliveries of features within a day
        columns["source"] = pa.array(
            [f"{file.name} {line:012d}" for line in rows[LINE].to_pylist()], pa.string()
        )
    schema = landing_type.table.schema
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _reject_rows(batch: LandingBatch, file: LandingFile, task: StagingTask) -> pa.Table:
    rows = [
        {
            "day": task.day,
            "step": f"ingest.{task.type_name}",
            "reason": reject.rejected.reason,
            "received_day": task.day,
            "source_file": file.name,
            "source_line": reject.line,
            "record": f"{reject.rejected}\n{record_text(reject.raw)}",
        }
        for reject in batch.rejects
    ]
    return pa.Table.from_pylist(rows, REJECTS.schema)


class _LazyWriter:
    """Writes a Parquet file, which is opened at the first row.

    Attributes:
        written_paths: the path of the file, or nothing if it was not opened.
    """

    def __init__(self, path: StoragePath, table: TableSpec) -> None:
        self.written_paths: list[StoragePath] = []
        self._path, self._table = path, table
        self._files = ExitStack()
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "_LazyWriter":
        return self

    def __exit__(self, *error: object) -> None:
        with explained_errors(self._path):
            self._files.close()

    def write(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        with explained_errors(self._path):
            if self._writer is None:
                self._writer = self._open()
            self._writer.write_table(rows)

    def _open(self) -> pq.ParquetWriter:
        self.written_paths.append(self._path)
        dictionaries = DICTIONARY_COLUMNS.get(self._table.name, True)
        file = self._files.enter_context(self._path.open("wb"))
        writer = pq.ParquetWriter(file, self._table.schema, use_dictionary=dictionaries)
        return self._files.enter_context(writer)
