"""Convert records in the plain form to table rows, column by column.

A record is plain if each value has its common form, such as a short text as an id, and not all values are
missing. Its row is the row of `core.records.parse_record`. All other records, valid or not, are left to that
strict parser.
"""

from collections.abc import Callable, Mapping
from functools import reduce
from operator import and_
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from core.records import (
    MAX_EXACT_FLOAT,
    MAX_ID_LENGTH,
    MIN_EPOCH_MILLISECONDS,
    Event,
    LandingType,
    User,
    Video,
)
from lake.record_columns import MAX_SECONDS, TEXT_ENTRIES, RecordColumns

SOURCE_COLUMNS = ("day", "source_file", "source_line", "source")  # of a row, but not of its record
RFC_3339 = (
    r"^(?<local>(?:19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-5][0-9](?:\.[0-9]{1,6})?)"
    r"(?:Z|(?<sign>[+-])(?<hours>0[0-9]|1[0-4]):(?<minutes>[0-5][0-9]))?$"
)
VISIBLE = r"[\p{L}\p{N}\p{P}\p{S}]"  # a character that is not white space


class PlainValues(NamedTuple):
    """A converted column.

    Attributes:
        values: the values of the table's column.
        is_plain: a mask of the plain values. The other values are undefined.
    """

    values: pl.Series
    is_plain: pl.Series


class PlainRows(NamedTuple):
    """The rows of the plain records.

    Attributes:
        positions: ascending positions of the records in their block or batch.
        rows: their rows without SOURCE_COLUMNS.
    """

    positions: np.ndarray
    rows: pa.Table


def record_schema(landing_type: LandingType) -> pa.Schema:
    """Return the table's columns without SOURCE_COLUMNS."""
    return pa.schema([field for field in landing_type.table.schema if field.name not in SOURCE_COLUMNS])


def convert(columns: RecordColumns, landing_type: LandingType) -> PlainRows:
    """Convert the plain records among events, videos or users."""
    fields, rules = columns.fields, RULES[landing_type.record]
    missing = pl.Series([None] * len(columns.positions), dtype=pl.Null)
    converted = {
        name.removeprefix("context."): rule(fields.get(name, missing)) for name, rule in rules.items()
    }
    unnamed = {name: fields[name] for name in sorted(fields.keys() - rules.keys())}
    if landing_type.record is User:
        converted["profile"] = _text_by_name(unnamed, len(missing))
    elif columns.other_fields is not None:
        converted["other_fields"] = PlainValues(columns.other_fields, _all(missing))
    else:
        converted["other_fields"] = _without_empty(_text_by_name(unnamed, len(missing)))
    is_empty = reduce(and_, (values.is_null() for values in fields.values()), _all(missing))
    is_plain = reduce(and_, (column.is_plain for column in converted.values())) & ~is_empty
    schema = record_schema(landing_type)
    arrays = [_to_arrow(converted[field.name].values.filter(is_plain), field.type) for field in schema]
    return PlainRows(columns.positions[is_plain.to_numpy()], pa.Table.from_arrays(arrays, schema=schema))


def _to_arrow(values: pl.Series, arrow_type: pa.DataType) -> pa.Array:
    array = values.to_arrow(compat_level=pl.CompatLevel.oldest())
    if not pa.types.is_map(arrow_type):
        return array.cast(arrow_type)
    entries = [array.values.field(name).cast(pa.string()) for name in ("key", "value")]
    return pa.MapArray.from_arrays(array.offsets.cast(pa.int32()), *entries, mask=array.is_null())


def _missing(values: pl.Series, dtype: pl.DataType | type[pl.DataType]) -> PlainValues:
    """Accept missing values only, as nulls of the table's type."""
    return PlainValues(pl.Series([None], dtype=dtype).new_from_index(0, len(values)), values.is_null())


def _null(values: pl.Series) -> PlainValues:
    """Accept missing values only."""
    return _missing(values, pl.Null)


def _text(values: pl.Series) -> PlainValues:
    if values.dtype != pl.String:
        return _missing(values, pl.String)
    return PlainValues(values, _all(values))


def _visible_text(values: pl.Series) -> PlainValues:
    """Accept text with a visible character. Empty text is missing."""
    text = _without("", _text(values).values)
    return PlainValues(text, _text(values).is_plain & text.str.contains(VISIBLE).fill_null(True))


def _texts(values: pl.Series) -> PlainValues:
    """Accept lists of text."""
    if values.dtype not in (pl.List(pl.String), pl.List(pl.Null)):
        return _missing(values, pl.List(pl.String))
    texts = values.cast(pl.List(pl.String))
    return PlainValues(texts, (texts.list.len() == texts.list.drop_nulls().list.len()).fill_null(True))


def _id(values: pl.Series) -> PlainValues:
    """Accept short text and whole numbers. Empty text is missing."""
    if values.dtype != pl.String:
        numbers, is_plain = _int64(values)
        return PlainValues(numbers.cast(pl.String), is_plain)
    is_short = values.str.len_bytes() <= MAX_ID_LENGTH
    is_plain = is_short & ~values.str.contains("\0", literal=True)
    return PlainValues(_without("", values), is_plain.fill_null(True))


def _required_id(values: pl.Series) -> PlainValues:
    text, is_plain = _id(values)
    return PlainValues(text, is_plain & text.is_not_null())


def _integer(values: pl.Series, bits: int) -> PlainValues:
    """Accept whole numbers of `bits` bits and a sign. NaN is missing."""
    if values.dtype.is_float():
        values = values.cast(pl.Float64).fill_nan(None)
        is_exact = (values == values.round()) & (values.abs() < MAX_EXACT_FLOAT)
    elif values.dtype.is_integer():
        is_exact = _all(values)
    else:
        return _missing(values, pl.Int64)
    numbers = values.cast(pl.Int64, strict=False)
    is_plain = is_exact & numbers.is_between(-(2**bits), 2**bits - 1).fill_null(False)
    return PlainValues(numbers, is_plain | values.is_null())


def _int64(values: pl.Series) -> PlainValues:
    return _integer(values, 63)


def _int32(values: pl.Series) -> PlainValues:
    return _integer(values, 31)


def _duration(values: pl.Series) -> PlainValues:
    """Accept whole numbers that are not negative. 0 is missing."""
    numbers, is_plain = _int64(values)
    return PlainValues(_without(0, numbers), is_plain & (numbers >= 0).fill_null(True))


def _time(values: pl.Series) -> PlainValues:
    """Accept times, epoch milliseconds and RFC 3339 text. Empty text and the number 0 are missing."""
    if values.dtype == pl.String:
        return _parse_text_times(values)
    if values.dtype == pl.Datetime:
        is_in_range = values.to_physical().abs() < MAX_SECONDS * 10**6
        return PlainValues(values, is_in_range.fill_null(True))
    numbers, is_plain = _int64(values)
    milliseconds = _without(0, numbers)
    is_in_range = milliseconds.abs().is_between(MIN_EPOCH_MILLISECONDS, MAX_SECONDS * 1000 - 1)
    times = (milliseconds * 1000).cast(pl.Datetime("us", "UTC"))
    return PlainValues(times, is_plain & is_in_range.fill_null(True))


def _parse_text_times(values: pl.Series) -> PlainValues:
    text = _without("", values)
    parts = text.str.extract_groups(RFC_3339).struct.unnest()
    local = parts["local"].str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    minutes = parts["hours"].cast(pl.Int64) * 60 + parts["minutes"].cast(pl.Int64)
    offset = pl.duration(minutes=pl.when(parts["sign"] == "-").then(-minutes).otherwise(minutes).fill_null(0))
    times = pl.select((pl.lit(local) - offset).dt.replace_time_zone("UTC")).to_series()
    return PlainValues(times, text.is_null() | times.is_not_null())


def _text_by_name(fields: Mapping[str, pl.Series], length: int) -> PlainValues:
    """Accept text, whole numbers and truth values. The entries have the order of the fields."""
    texts = {name: _profile_text(values) for name, values in fields.items()}
    if not texts:
        no_entries, is_plain = pl.Series([[]], dtype=TEXT_ENTRIES), pl.Series([True])
        return PlainValues(no_entries.new_from_index(0, length), is_plain.new_from_index(0, length))
    entries = [
        pl.when(values.is_not_null()).then(pl.struct(pl.lit(name).alias("key"), values.alias("value")))
        for name, (values, _) in texts.items()
    ]
    profile = pl.select(pl.concat_list(entries).list.drop_nulls()).to_series()
    return PlainValues(profile, reduce(and_, (is_plain for _, is_plain in texts.values())))


def _without_empty(column: PlainValues) -> PlainValues:
    """Replace lists without entries by null."""
    has_entries = column.values.list.len() > 0
    return PlainValues(pl.select(pl.when(has_entries).then(column.values)).to_series(), column.is_plain)


def _profile_text(values: pl.Series) -> PlainValues:
    if values.dtype.is_integer() or values.dtype == pl.Boolean:
        values = values.cast(pl.String)
    return _text(values)


def _without(missing: str | int, values: pl.Series) -> pl.Series:
    """Return the values with null in place of `missing`."""
    return pl.select(pl.when(values != missing).then(values)).to_series()


def _all(values: pl.Series) -> pl.Series:
    return pl.Series([True]).new_from_index(0, len(values))


Rule = Callable[[pl.Series], PlainValues]

RULES: dict[type, dict[str, Rule]] = {
    Event: {
        "event_id": _id,
        "user_id": _id,
        "video_id": _id,
        "event_type": _text,
        "event_time": _time,
        "watch_ms": _int64,
        "comment_text": _text,
        "context": _null,
        "context.device": _text,
        "context.network": _text,
        "context.utc_offset_minutes": _int32,
        "context.feed_position": _int32,
    },
    Video: {
        "video_id": _required_id,
        "author_id": _id,
        "caption": _visible_text,
        "hashtags": _texts,
        "music_title": _visible_text,
        "duration_ms": _duration,
        "upload_time": _time,
        "expires_at": _time,
        "category": _id,
        "media_uri": _visible_text,
    },
    User: {"user_id": _required_id, "registration_time": _time},
}
