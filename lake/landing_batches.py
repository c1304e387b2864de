"""Read landing files in batches of table rows and rejects.

Records in the plain form are converted as columns. The strict parser converts the others. Together they have
the rows, rejects and line numbers of `landing.read_records`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.records import LandingType, RecordRejected, parse_record
from core.storage import StoragePath
from lake import plain_records
from lake.json_records import WHOLE_FILE, ByteRange, JsonRecord, read_json_blocks
from lake.landing import LandingLimits, RawRecord
from lake.parquet_records import read_parquet_batches, to_records
from lake.plain_records import PlainRows
from lake.record_columns import json_columns, parquet_columns

LINE = "source_line"


class Reject(NamedTuple):
    """A refused record.

    Attributes:
        line: its line or row in the file, from 1.
        raw: the record.
        rejected: the reason.
    """

    line: int
    raw: RawRecord
    rejected: RecordRejected


@dataclass(frozen=True)
class LandingBatch:
    """Some consecutive records of a landing file.

    Attributes:
        rows: the rows of the accepted records in order of their lines: the columns of the table without those
            of the source, and `source_line`.
        rejects: the refused records in order of their lines.
    """

    rows: pa.Table
    rejects: list[Reject]


def read_batches(
    path: StoragePath,
    landing_type: LandingType,
    limits: LandingLimits,
    batch_rows: int,
    byte_range: ByteRange = WHOLE_FILE,
    first_line: int = 1,
) -> Iterator[LandingBatch]:
    """Read a landing file, or a range of a file of JSON.

    Args:
        path: the file.
        landing_type: its landing type.
        limits: limits of its size.
        batch_rows: lines of a batch. A batch with long records has fewer.
        byte_range: the lines to read. A Parquet file is read as a whole.
        first_line: the number of the first of them in the file.

    Raises:
        InputError: the file cannot be read (not Parquet, a broken gzip stream) or is beyond `limits`.
    """
    parts = (
        _read_parquet(path, landing_type, limits, batch_rows)
        if path.name.endswith(".parquet")
        else _read_json(path, landing_type, limits, batch_rows, byte_range)
    )
    for num_records, plain, strict in parts:
        yield _merge(first_line, plain, strict, landing_type)
        first_line += num_records


def count_json_records(
    path: StoragePath, limits: LandingLimits, batch_rows: int, byte_range: ByteRange
) -> int:
    """Count the records of a range of a file of JSON, as `read_batches` numbers them.

    Raises:
        InputError: as `read_batches`.
    """
    return sum(map(len, _json_blocks(path, limits, batch_rows, byte_range)))


def _json_blocks(
    path: StoragePath, limits: LandingLimits, batch_rows: int, byte_range: ByteRange
) -> Iterator[list[JsonRecord]]:
    return read_json_blocks(path, batch_rows, limits.max_record_bytes, limits.max_file_bytes, byte_range)


class _StrictRecord(NamedTuple):
    position: int  # in its block or batch
    raw: RawRecord
    result: dict[str, Any] | RecordRejected


_Part = tuple[int, PlainRows | None, list[_StrictRecord]]  # number of records, plain ones, all others


def _read_json(
    path: StoragePath,
    landing_type: LandingType,
    limits: LandingLimits,
    batch_rows: int,
    byte_range: ByteRange,
) -> Iterator[_Part]:
    for block in _json_blocks(path, limits, batch_rows, byte_range):
        columns = json_columns(block, landing_type)
        plain = plain_records.convert(columns, landing_type) if columns else None
        positions = _other_positions(len(block), plain)
        yield len(block), plain, list(_parse(positions, [block[n] for n in positions], landing_type))


def _read_parquet(
    path: StoragePath, landing_type: LandingType, limits: LandingLimits, batch_rows: int
) -> Iterator[_Part]:
    for batch in read_parquet_batches(path, batch_rows, limits.max_file_bytes):
        columns = parquet_columns(batch, landing_type, limits.max_record_bytes)
        plain = plain_records.convert(columns, landing_type) if columns else None
        positions = _other_positions(batch.num_rows, plain)
        others = batch.take(pa.array(positions)) if len(positions) else batch.slice(0, 0)
        records = to_records(path, others, limits.max_record_bytes)
        yield batch.num_rows, plain, list(_parse(positions, records, landing_type))


def _other_positions(num_records: int, plain: PlainRows | None) -> np.ndarray:
    """Return the positions of the records that are not plain."""
    is_other = np.ones(num_records, bool)
    if plain:
        is_other[plain.positions] = False
    return np.flatnonzero(is_other)


def _parse(
    positions: np.ndarray, records: Iterable[RawRecord | RecordRejected], landing_type: LandingType
) -> Iterator[_StrictRecord]:
    """Parse records with the strict parser. Blank lines are left out."""
    for position, raw in zip(positions.tolist(), records, strict=True):
        if isinstance(raw, RecordRejected):
            yield _StrictRecord(position, b"", raw)
        elif raw:
            yield _StrictRecord(position, raw, parse_record(raw, landing_type))


def _merge(
    first_line: int, plain: PlainRows | None, strict: Sequence[_StrictRecord], landing_type: LandingType
) -> LandingBatch:
    """Join plain and strict rows in order of their lines."""
    schema = plain_records.record_schema(landing_type)
    accepted = [record for record in strict if not isinstance(record.result, RecordRejected)]
    rows = pa.Table.from_pylist([record.result for record in accepted], schema)
    positions = np.array([record.position for record in accepted], np.int64)
    if plain:
        rows = pa.concat_tables([plain.rows, rows])
        positions = np.concatenate([plain.positions, positions])
    rows = rows.append_column(LINE, pa.array(positions + first_line))
    if plain and accepted:
        rows = rows.take(pc.sort_indices(rows[LINE]))
    rejects = [
        Reject(first_line + record.position, record.raw, record.result)
        for record in strict
        if isinstance(record.result, RecordRejected)
    ]
    return LandingBatch(rows, rejects)
