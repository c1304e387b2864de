"""Read records into columns, one for each field.

`lake.plain_records` converts the columns. Records that do not fit into columns are left to the strict parser.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from core.records import STRUCTS, Context, Event, LandingType, User, Video, other_fields
from lake.json_records import JsonRecord
from lake.parquet_records import UNITS_PER_SECOND, is_text, text_bytes

MAX_PROFILE_FIELDS = 256
MAX_ISO_TEXT = 40  # characters of the text to which the strict parser converts a time
# Seconds before and after 1970. Up to here, epoch milliseconds as a float are exact to the microsecond.
MAX_SECONDS = 2**33
TEXT_ENTRIES = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))


class KnownContext(Context, forbid_unknown_fields=True):
    """A context without other fields."""


class KnownEvent(Event, forbid_unknown_fields=True):
    """An event without other fields."""

    context: KnownContext | None = None


class KnownVideo(Video, forbid_unknown_fields=True):
    """A catalogue entry without other fields."""


DECODERS: dict[type, msgspec.json.Decoder[Any]] = {
    record: msgspec.json.Decoder(dict[str, Any] if record is User else record)
    for record in (Event, Video, User)
}
# Most records have known fields only. A block of such records is decoded once.
KNOWN_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {
    Event: msgspec.json.Decoder(KnownEvent),
    Video: msgspec.json.Decoder(KnownVideo),
    User: DECODERS[User],
}


@dataclass(frozen=True)
class RecordColumns:
    """Records as columns.

    Attributes:
        positions: ascending positions of the records in their block or batch.
        fields: field -> its values. The fields of a context are `context.device` and so on.
        other_fields: the other fields of each record as a list of TEXT_ENTRIES, null if there are none. None
            if they are among `fields`.
    """

    positions: np.ndarray
    fields: Mapping[str, pl.Series]
    other_fields: pl.Series | None = None

    def filter(self, is_selected: np.ndarray) -> "RecordColumns":
        """Return the records that a mask selects."""
        if is_selected.all():
            return self
        mask = pl.Series(is_selected)
        return RecordColumns(
            self.positions[is_selected],
            {name: values.filter(mask) for name, values in self.fields.items()},
            None if self.other_fields is None else self.other_fields.filter(mask),
        )


def json_columns(objects: Sequence[JsonRecord], landing_type: LandingType) -> RecordColumns | None:
    """Return JSON objects as columns, or None if no column can hold them.

    The strict parser's decoder reads them. Objects that it refuses are left out.
    """
    if landing_type.record not in DECODERS:
        return None
    decoded, others = _decode(objects, landing_type.record)
    is_decoded = [record is not None for record in decoded]
    positions = np.flatnonzero(is_decoded)
    records = [record for record in decoded if record is not None]
    values = _profile_values(records) if landing_type.record is User else _field_values(records)
    if values is None:
        return None
    fits = np.ones(len(records), bool)
    fields = {}
    for name, column in values.items():
        try:
            fields[name] = _to_series(pa.array(column))
        except (pa.ArrowException, OverflowError):  # values of several types or long numbers
            is_kept = _has_commonest_type(column)
            kept = [value if keep else None for value, keep in zip(column, is_kept, strict=True)]
            fields[name] = _to_series(pa.array(kept))
            fits &= is_kept
    kept_others = None if others is None else _to_entries(others).filter(pl.Series(is_decoded))
    return RecordColumns(positions, fields, kept_others).filter(fits)


def parquet_columns(
    batch: pa.RecordBatch, landing_type: LandingType, max_record_bytes: int
) -> RecordColumns | None:
    """Return a batch of a Parquet file as columns, or None if a column has an uncommon type or invalid text.

    Records that can be longer than `max_record_bytes` are left out.
    """
    if landing_type.record not in DECODERS or not all(_is_common(field.type) for field in batch.schema):
        return None
    if landing_type.record in STRUCTS and any("." in name for name in batch.schema.names):
        return None  # such a name could be taken for a field of the context
    fields: dict[str, pl.Series] = {}
    try:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name == "context" and pa.types.is_struct(column.type) and landing_type.record is Event:
                fields |= _child_columns(name, column)
            else:
                fields[name] = _to_series(column)
    except pa.ArrowInvalid:
        return None
    num_times = sum(pa.types.is_timestamp(field.type) for field in batch.schema)
    is_short = text_bytes(batch) + MAX_ISO_TEXT * num_times <= max_record_bytes
    return RecordColumns(np.arange(batch.num_rows), fields).filter(is_short)


def _decode(objects: Sequence[JsonRecord], record_type: type) -> tuple[list[Any], list[Any] | None]:
    """Decode each object. The result of a refused one is None. Also return their other fields, if any."""
    try:
        decode: Callable[[Any], Any] = KNOWN_DECODERS[record_type].decode
        return [decode(item) for item in objects], None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        pairs = [_decode_or_none(item, record_type) for item in objects]
        others = [other for _, other in pairs] if record_type in STRUCTS else None
        return [record for record, _ in pairs], others


def _decode_or_none(item: JsonRecord, record_type: type) -> tuple[Any, Any]:
    if not isinstance(item, bytes):
        return None, None
    try:
        record = DECODERS[record_type].decode(item)
        return record, other_fields(item, record_type) if record_type in STRUCTS else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, None


def _to_entries(others: Sequence[list[tuple[str, str]] | None]) -> pl.Series:
    entries = [[{"key": key, "value": value} for key, value in pairs] if pairs else None for pairs in others]
    return pl.Series(entries, dtype=TEXT_ENTRIES)


def _field_values(records: Sequence[Any]) -> dict[str, list[Any]] | None:
    """Return field -> values of events or videos."""
    if not records:
        return None
    values = {name: list(map(attrgetter(name), records)) for name in records[0].__struct_fields__}
    if "context" in values:
        missing = Context()
        contexts = [context or missing for context in values.pop("context")]
        values |= {
            f"context.{name}": list(map(attrgetter(name), contexts)) for name in Context.__struct_fields__
        }
    return values


def _profile_values(records: Sequence[dict[str, Any]]) -> dict[str, list[Any]] | None:
    """Return field -> values of users."""
    names = set().union(*records)
    if not 0 < len(names) <= MAX_PROFILE_FIELDS:
        return None
    return {name: [record.get(name) for record in records] for name in sorted(names)}


def _has_commonest_type(values: Sequence[Any]) -> np.ndarray:
    """Return a mask of the missing values and of those of the commonest type that fit a column."""
    types = Counter(type(value) for value in values if isinstance(value, str | int | float))
    commonest = max(types, key=lambda name: types[name], default=str)
    return np.array([value is None or (type(value) is commonest and _is_short(value)) for value in values])


def _is_short(value: str | int | float) -> bool:
    """Return whether a value fits a column, whose whole numbers have 64 bits."""
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _is_common(arrow_type: pa.DataType) -> bool:
    """Return whether the strict parser can convert every value of a column without refusing the file."""
    if pa.types.is_struct(arrow_type):
        names = [child.name for child in arrow_type]
        return len(set(names)) == len(names) and all(_is_scalar(child.type) for child in arrow_type)
    if _is_list(arrow_type):
        return _is_scalar(arrow_type.value_type) and not pa.types.is_dictionary(arrow_type.value_type)
    return _is_scalar(arrow_type) or pa.types.is_timestamp(arrow_type)


def _is_list(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type))


def _is_scalar(arrow_type: pa.DataType) -> bool:
    return bool(
        is_text(arrow_type)
        or pa.types.is_null(arrow_type)
        or pa.types.is_boolean(arrow_type)
        or pa.types.is_integer(arrow_type)
        or pa.types.is_float32(arrow_type)
        or pa.types.is_float64(arrow_type)
    )


def _child_columns(name: str, column: pa.StructArray) -> dict[str, pl.Series]:
    return {
        f"{name}.{child.name}": _to_series(values)
        for child, values in zip(column.type, column.flatten(), strict=True)
    }


def _to_series(column: pa.Array) -> pl.Series:
    """Return a column for polars. Nested values other than lists of text become bytes, which no rule accepts.

    Raises:
        pa.ArrowInvalid: text is not UTF-8, which polars does not check.
    """
    if pa.types.is_dictionary(column.type):
        return _to_series(column.dictionary).gather(pl.Series(values=column.indices))  # text is not copied
    if pa.types.is_timestamp(column.type):
        return _to_datetimes(column)
    if is_text(column.type):
        return pl.Series(values=column.cast(pa.large_binary()).cast(pa.large_string()))
    column.validate(full=True)
    if _is_scalar(column.type):
        return pl.Series(values=column)
    if _is_list(column.type) and (
        is_text(column.type.value_type) or pa.types.is_null(column.type.value_type)
    ):
        return pl.Series(values=column.cast(pa.large_list(pa.large_string())))
    return pl.Series(values=pc.if_else(column.is_valid(), b"", None))


def _to_datetimes(column: pa.Array) -> pl.Series:
    """Return times in microseconds UTC, rounded down. A time beyond MAX_SECONDS is set to this limit."""
    units_per_second = UNITS_PER_SECOND[column.type.unit]
    limit = MAX_SECONDS * units_per_second
    units = pl.Series(values=column.view(pa.int64())).clip(-limit, limit)
    is_finer = units_per_second > 10**6
    microseconds = units // 1000 if is_finer else units * (10**6 // units_per_second)
    return microseconds.cast(pl.Datetime("us", "UTC"))
