"""Read the records of any Parquet file as plain Python values.

Values of types that JSON lacks are converted: times and dates to ISO text, decimals to numbers, bytes to
text, NaN to None.

Some values cannot be converted, such as text that is not UTF-8 or a time beyond the year 9999. They keep a
form that the record's class refuses. So one bad value rejects its row, not the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.errors import InputError
from core.records import RecordRejected
from core.storage import StoragePath, arrow_source

CONVERTED_ROWS = 1024  # rows that are Python values at the same time
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
MIB = 1 << 20
BATCH_BYTES = 64 * MIB


def read_parquet_batches(path: StoragePath, batch_rows: int, max_file_bytes: int) -> Iterator[pa.RecordBatch]:
    """Read a Parquet file in batches.

    Args:
        path: the file.
        batch_rows: rows of a batch. A batch with more than 64 MiB has fewer.
        max_file_bytes: limit of the file, without compression.

    Yields:
        Batches of one row or more. Columns of text are dictionaries.

    Raises:
        InputError: the file is not Parquet or is too large.
    """
    with _refuse_unreadable(path):
        file = _open(path)
        row_groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
        stored_bytes = sum(group.total_byte_size for group in row_groups)
        _check_size(path, stored_bytes, max_file_bytes)
        row_bytes = stored_bytes // max(file.metadata.num_rows, 1) + 1
        bytes_read = 0
        for stored in file.iter_batches(min(batch_rows, BATCH_BYTES // row_bytes + 1), use_threads=False):
            batch = stored.cast(without_views(stored.schema))
            ends = np.cumsum(text_bytes(batch) + 8 * batch.num_columns)
            bytes_read += int(ends[-1]) if len(ends) else 0
            _check_size(path, bytes_read, max_file_bytes)
            yield from _split(batch, ends)


def to_records(
    path: StoragePath, batch: pa.RecordBatch, max_record_bytes: int
) -> Iterator[dict[str, Any] | RecordRejected]:
    """Convert a batch to records of Python values. A row of nulls is empty, like a blank line of JSON.

    Args:
        path: its file.
        batch: the batch.
        max_record_bytes: a record with more text becomes a reject.

    Raises:
        InputError: a column cannot be converted.
    """
    names = batch.schema.names
    too_long = RecordRejected(
        "too_long", f"the text is longer than ingest.max_record_kib, {max_record_bytes // 1024} KiB"
    )
    with _refuse_unreadable(path):
        for start in range(0, batch.num_rows, CONVERTED_ROWS):
            columns = [_to_python(column) for column in batch.slice(start, CONVERTED_ROWS).columns]
            for values in zip(*columns, strict=True):
                size = sum(len(value) for value in values if isinstance(value, str | bytes))
                if size > max_record_bytes:
                    yield too_long
                else:
                    is_empty = all(value is None for value in values)
                    yield {} if is_empty else dict(zip(names, values, strict=True))


def without_views(schema: pa.Schema) -> pa.Schema:
    """Return a schema with plain text in place of views, from which Arrow cannot take rows."""
    return pa.schema([field.with_type(_without_views(field.type)) for field in schema])


def _without_views(arrow_type: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(arrow_type):
        return pa.large_string()
    if pa.types.is_binary_view(arrow_type):
        return pa.large_binary()
    if pa.types.is_list(arrow_type):
        return pa.list_(arrow_type.value_field.with_type(_without_views(arrow_type.value_type)))
    if pa.types.is_large_list(arrow_type):
        return pa.large_list(arrow_type.value_field.with_type(_without_views(arrow_type.value_type)))
    if pa.types.is_struct(arrow_type):
        return pa.struct([child.with_type(_without_views(child.type)) for child in arrow_type])
    return arrow_type


def is_text(arrow_type: pa.DataType) -> bool:
    """Return whether a column holds text. Bytes are text too, as some writers do not mark UTF-8."""
    if pa.types.is_dictionary(arrow_type):
        return is_text(arrow_type.value_type)
    return bool(
        pa.types.is_string(arrow_type)
        or pa.types.is_large_string(arrow_type)
        or pa.types.is_binary(arrow_type)
        or pa.types.is_large_binary(arrow_type)
    )


def text_bytes(batch: pa.RecordBatch) -> np.ndarray:
    """Return the bytes of text of each row, outside nested columns."""
    row_bytes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        if is_text(column.type):
            row_bytes += pc.fill_null(_lengths(column), 0).to_numpy()
    return row_bytes


def _lengths(text: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(text.type):
        return pc.take(pc.binary_length(text.dictionary), text.indices)
    return pc.binary_length(text)


@contextmanager
def _refuse_unreadable(path: StoragePath) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path} is not a readable Parquet file ({reason}); deliver the file again"
        ) from None


def _open(path: StoragePath) -> pq.ParquetFile:
    """Open a file so that text stays a dictionary: a value that many rows share is in memory once.

    By default INT96 is read in nanoseconds, which wraps around outside 1677 to 2262.
    """
    schema = pq.read_schema(arrow_source(path))
    if len(set(schema.names)) < len(schema.names):
        raise InputError(f"{path} has two columns of one name; rename one of them and deliver the file again")
    text_columns = [leaf for field in schema for leaf in _text_columns(field)]
    return pq.ParquetFile(
        arrow_source(path), coerce_int96_timestamp_unit="us", pre_buffer=False, read_dictionary=text_columns
    )


def _text_columns(field: pa.Field) -> list[str]:
    """Return the Parquet paths of a text column, or of the text in a structure."""
    if pa.types.is_struct(field.type):
        return [f"{field.name}.{child.name}" for child in field.type if is_text(child.type)]
    return [field.name] if is_text(field.type) else []


def _split(batch: pa.RecordBatch, ends: np.ndarray) -> Iterator[pa.RecordBatch]:
    """Split a batch whose text exceeds BATCH_BYTES. `ends` is the number of bytes up to each row's end."""
    starts = np.flatnonzero(np.diff(ends // BATCH_BYTES, prepend=-1))
    for start, end in zip(starts, [*starts[1:], batch.num_rows], strict=True):
        yield batch.slice(start, end - start)


def _check_size(path: StoragePath, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise InputError(
            f"{path} holds more than {max_bytes // MIB} MiB without compression, which is"
            " ingest.max_file_mib in params.yaml; split the file or raise the limit"
        )


def _to_python(column: pa.Array) -> list[Any]:
    """Return a column as Python values of types that JSON has."""
    arrow_type = column.type
    if pa.types.is_dictionary(arrow_type):
        used = column.indices.dictionary_encode()
        values = _to_python(column.dictionary.take(used.dictionary))
        return [None if index is None else values[index] for index in used.indices.to_pylist()]
    if pa.types.is_timestamp(arrow_type):
        # Read as integers, because pyarrow's datetime conversion fails for some zones and years.
        return [_to_iso_text(value, arrow_type.unit) for value in column.view(pa.int64()).to_pylist()]
    if pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type):
        column = column.cast(pa.large_binary())
    return [_to_json_value(value) for value in column.to_pylist()]


def _to_iso_text(value: int | None, unit: str) -> str | None:
    if value is None:
        return None
    try:
        return (EPOCH + timedelta(microseconds=value * 10**6 // UNITS_PER_SECOND[unit])).isoformat()
    except OverflowError:
        return f"{value} {unit} after 1970"


def _to_json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return _decode(value)
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, Decimal):
        return _to_number(value)
    return value.isoformat() if isinstance(value, date) else value


def _decode(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _to_number(value: Decimal) -> int | float | str:
    """Return an equal number, or the text if no int or float is exactly equal."""
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)
