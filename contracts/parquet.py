"""Records of Parquet files that anybody may have written, as plain Python values.

Types that JSON lacks become what a JSON file would hold: times and dates ISO text, decimals numbers, bytes
text, NaN missing. A value that cannot be (text that is not UTF-8, a time beyond the year 9999) stays
something that the record's type refuses, so that it costs its row and not the file.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import InputError
from contracts.records import Refused

BATCH_ROWS = 1024
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
MIB = 1 << 20


def parquet_records(path: Path, record_bytes: int, file_bytes: int) -> Iterator[dict[str, Any] | Refused]:
    """Every record, in their order.

    Raises:
        InputError: it is no Parquet file, a column cannot be read, or it holds more than `file_bytes` without
            compression.
    """
    held = 0
    too_long = Refused("too_long", f"text beyond ingest.max_record_kib, {record_bytes // 1024} KiB")
    try:
        # INT96 in nanoseconds, the default, wraps around outside 1677 to 2262. Text stays a dictionary, so
        # that a value that many rows share is held once.
        texts = [field.name for field in pq.read_schema(path) if _is_text(field.type)]
        options = {"coerce_int96_timestamp_unit": "us", "pre_buffer": False, "read_dictionary": texts}
        file = pq.ParquetFile(path, **options)
        groups = range(file.metadata.num_row_groups)
        _bound(path, sum(file.metadata.row_group(n).total_byte_size for n in groups), file_bytes)
        names = file.schema_arrow.names
        if len(set(names)) < len(names):
            raise InputError(f"{path} has two columns of one name; deliver it with each column once")
        for batch in file.iter_batches(BATCH_ROWS):
            columns = [_values(column) for column in batch.columns]
            for values in zip(*columns, strict=True):
                size = sum(len(value) for value in values if isinstance(value, str | bytes))
                held += size + 8 * len(values)
                _bound(path, held, file_bytes)
                yield too_long if size > record_bytes else dict(zip(names, values, strict=True))
    except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is not a readable Parquet file ({first}); deliver the file again") from None


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_binary(kind)


def _bound(path: Path, size: int, most: int) -> None:
    if size > most:
        raise InputError(
            f"{path} holds more than {most // MIB} MiB without compression, which is ingest.max_file_mib in"
            " params.yaml; split the file, or raise the bound"
        )


def _values(column: pa.Array) -> list[Any]:
    """A column as Python values of the kinds that JSON knows."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        values = _values(column.dictionary)
        return [None if index is None else values[index] for index in column.indices.to_pylist()]
    if pa.types.is_timestamp(kind):
        # As numbers: pyarrow's own values know neither every zone nor every year.
        return [_time(value, kind.unit) for value in column.view(pa.int64()).to_pylist()]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.large_binary())
    return [_plain(value) for value in column.to_pylist()]


def _time(value: int | None, unit: str) -> str | None:
    if value is None:
        return None
    try:
        return (EPOCH + timedelta(microseconds=value * 10**6 // PER_SECOND[unit])).isoformat()
    except OverflowError:
        return f"{value} {unit} after 1970"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, Decimal):
        return _number(value)
    return value.isoformat() if isinstance(value, date) else value


def _decoded(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _number(value: Decimal) -> int | float | str:
    """The same number, exactly, or else its text."""
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)
