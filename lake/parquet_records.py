"""Read the records of any Parquet file as plain Python values.

Values of types that JSON lacks are converted: times and dates to ISO text, decimals to numbers, bytes to
text, NaN to None.

Some values cannot be converted, such as text that is not UTF-8 or a time beyond the year 9999. They keep a
form that the record's class refuses. So one bad value rejects its row, not the file.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import InputError
from core.records import RecordRejected

BATCH_ROWS = 1024
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
MIB = 1 << 20


def read_parquet_records(
    path: Path, max_record_bytes: int, max_file_bytes: int
) -> Iterator[dict[str, Any] | RecordRejected]:
    """Read the records of a Parquet file in order.

    Args:
        path: the file.
        max_record_bytes: a record with more text becomes a reject.
        max_file_bytes: limit of the file, without compression.

    Raises:
        InputError: the file is not Parquet, is too large, or has an unreadable column.
    """
    bytes_read = 0
    too_long = RecordRejected(
        "too_long", f"the text is longer than ingest.max_record_kib, {max_record_bytes // 1024} KiB"
    )
    try:
        # By default INT96 is read in nanoseconds, which wraps around outside 1677 to 2262. Text stays a
        # dictionary, so that a value that many rows share is in memory once.
        text_columns = [field.name for field in pq.read_schema(path) if _is_text(field.type)]
        options = {"coerce_int96_timestamp_unit": "us", "pre_buffer": False, "read_dictionary": text_columns}
        file = pq.ParquetFile(path, **options)
        groups = range(file.metadata.num_row_groups)
        _check_size(path, sum(file.metadata.row_group(n).total_byte_size for n in groups), max_file_bytes)
        names = file.schema_arrow.names
        if len(set(names)) < len(names):
            raise InputError(
                f"{path} has two columns of one name; rename one of them and deliver the file again"
            )
        for batch in file.iter_batches(BATCH_ROWS):
            columns = [_to_python(column) for column in batch.columns]
            for values in zip(*columns, strict=True):
                size = sum(len(value) for value in values if isinstance(value, str | bytes))
                bytes_read += size + 8 * len(values)
                _check_size(path, bytes_read, max_file_bytes)
                yield too_long if size > max_record_bytes else dict(zip(names, values, strict=True))
    except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path} is not a readable Parquet file ({reason}); deliver the file again"
        ) from None


def _is_text(arrow_type: pa.DataType) -> bool:
    return pa.types.is_string(arrow_type) or pa.types.is_binary(arrow_type)


def _check_size(path: Path, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise InputError(
            f"{path} holds more than {max_bytes // MIB} MiB without compression, which is"
            " ingest.max_file_mib in params.yaml; split the file or raise the limit"
        )


def _to_python(column: pa.Array) -> list[Any]:
    """Return a column as Python values of types that JSON has."""
    arrow_type = column.type
    if pa.types.is_dictionary(arrow_type):
        values = _to_python(column.dictionary)
        return [None if index is None else values[index] for index in column.indices.to_pylist()]
    if pa.types.is_timestamp(arrow_type):
        # Read as integers, because pyarrow's datetime conversion fails for some zones and years.
        return [_to_iso_text(value, arrow_type.unit) for value in column.view(pa.int64()).to_pylist()]
    if (
        pa.types.is_string(arrow_type)
        or pa.types.is_large_string(arrow_type)
        or pa.types.is_string_view(arrow_type)
    ):
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
