"""Tables of a night's snapshot with rows of users: sequences, interactions and profiles.

They are read for one range of users after the other, so memory does not grow with the length of history.
"""

from datetime import date

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, BooleanExpression

from core.config.model_half import SnapshotConfig
from core.tables import BEHAVIOURS, TABLES
from core.time_split import TEST_FOLD, TimeSplit
from features.catalogue import catalogue_rows
from features.user_profiles import read_user_profiles
from lake.client import Lake, on_days, up_to_day
from lake.key_ranges import KeyRange, divide_keys
from models.data.labels import POSITIVE_BEHAVIOURS, has_behaviour, is_complete, is_positive

RANGE_ROWS = 1 << 20  # interactions and profiles of a range of users, some 500 MiB in all tables together


def divide_users(lake: Lake, split: TimeSplit) -> list[KeyRange]:
    """Divide the users into ranges of `RANGE_ROWS` rows that the snapshot reads."""
    sequences = lake.lazy_scan("sequences", on_days(*split.known_until.values()))
    interactions = lake.lazy_scan("interactions", on_days(*split.folds.values()))
    profiles = lake.lazy_scan("users", up_to_day(split.known_until[TEST_FOLD]))
    rows = [sequences.select("user_id", "behaviours").explode("behaviours"), interactions, profiles]
    return divide_keys(pl.concat([part.select("user_id") for part in rows]), "user_id", RANGE_ROWS)


def read_user_tables(
    lake: Lake, params: SnapshotConfig, video_ids: pa.ChunkedArray, split: TimeSplit, users: KeyRange
) -> dict[str, pa.Table]:
    """Read the sequences that each fold knows, the interactions of its day, and the users' profiles.

    Args:
        lake: Without blocked nights.
        params: Section `snapshot` of params.yaml.
        video_ids: Of the catalogue.
        split: The folds.
        users: The range of users to read.

    Returns:
        File name -> the rows of these users.

    Raises:
        InputError: An interaction has a video that is not in the catalogue.
    """
    tables = {
        f"sequences_{fold}": _sequences(lake, params, video_ids, day, users)
        for fold, day in split.known_until.items()
    }
    tables |= {
        f"interactions_{fold}": _interactions(lake, params, video_ids, day, users)
        for fold, day in split.folds.items()
    }
    chunks = [chunk for table in tables.values() for chunk in table["user_id"].chunks]
    user_ids = pc.unique(pa.chunked_array(chunks, pa.string()))
    profiles = read_user_profiles(lake, params, user_ids, split, users)
    return tables | {f"users_{fold}": table for fold, table in profiles.items()}


def _sequences(
    lake: Lake, params: SnapshotConfig, video_ids: pa.ChunkedArray, day: date, users: KeyRange
) -> pa.Table:
    """Return the sequences at the end of `day`, with the label `positive` and rows instead of video ids."""
    table = _scan_range(lake, "sequences", on_days(day), users).sort_by("user_id").combine_chunks()
    lists = {
        name: table[name].combine_chunks() for name in table.schema.names if name not in ("user_id", "day")
    }
    if not table.num_rows:
        lists = {name: pa.array([], table.schema.field(name).type) for name in lists}
    offsets = lists["video_ids"].offsets
    flat = {name: column.flatten() for name, column in lists.items()}
    bits = flat["behaviours"]
    flags = {name: has_behaviour(bits, position) for position, name in enumerate(BEHAVIOURS)}
    flat["positive"] = is_positive(flags, flat["watch_ratios"], params.positive_watch_ratio)
    flat["video_rows"] = catalogue_rows(flat.pop("video_ids"), video_ids)
    flat["utc_offset_minutes"] = pc.fill_null(flat["utc_offset_minutes"], 0)
    columns = {name: pa.ListArray.from_arrays(offsets, values) for name, values in sorted(flat.items())}
    return pa.table({"user_id": table["user_id"], **columns})


def _interactions(
    lake: Lake, params: SnapshotConfig, video_ids: pa.ChunkedArray, day: date, users: KeyRange
) -> pa.Table:
    """Return all interactions of a day with a behaviour, with their labels, sorted by user and time."""
    table = _scan_range(lake, "interactions", on_days(day), users).sort_by(
        [("user_id", "ascending"), ("started_at", "ascending"), ("video_id", "ascending")]
    )
    table = table.filter(_any_true([table[name] for name in BEHAVIOURS]))
    columns = (
        "user_id",
        "started_at",
        "watch_ratio",
        *POSITIVE_BEHAVIOURS,
        "disliked",
        "device",
        "network",
        "utc_offset_minutes",
    )
    flags = {name: table[name] for name in BEHAVIOURS}
    return (
        table.select(list(columns))
        .append_column("video_row", catalogue_rows(table["video_id"], video_ids))
        .append_column("completed", is_complete(table["watch_ratio"]))
        .append_column("positive", is_positive(flags, table["watch_ratio"], params.positive_watch_ratio))
    )


def _scan_range(lake: Lake, name: str, days: BooleanExpression, users: KeyRange) -> pa.Table:
    """Return the rows of a range of users. Without rows, pyiceberg gives other types than with them."""
    rows = lake.scan(name, And(days, users.filter()))
    return rows if rows.num_rows else TABLES[name].schema.empty_table()


def _any_true(columns: list[pa.Array]) -> pa.Array:
    """Return whether any column is true in each row."""
    result = columns[0]
    for column in columns[1:]:
        result = pc.or_(result, column)
    return result
