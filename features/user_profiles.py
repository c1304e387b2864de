"""User profiles of a night's snapshot, as they were known at the end of a day."""

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And

from core.config.model_half import SnapshotConfig
from core.time_split import TEST_FOLD, TimeSplit
from lake.client import Lake, up_to_day
from lake.key_ranges import KeyRange
from lake.latest_records import latest_records


def read_user_profiles(
    lake: Lake, params: SnapshotConfig, user_ids: pa.Array, split: TimeSplit, users: KeyRange
) -> dict[str, pa.Table]:
    """Read the profiles of users as each fold knows them.

    All tables hold the same users in the same order. A user without a profile gets nulls.

    Args:
        lake: Without blocked nights.
        params: Section `snapshot` of params.yaml.
        user_ids: The users.
        split: The folds.
        users: A range that holds all of them. Only its profiles are read.

    Returns:
        Name of the fold -> table.
    """
    until = up_to_day(split.known_until[TEST_FOLD])
    records = lake.scan("users", And(until, users.filter()))
    sorted_ids = user_ids.take(pc.array_sort_indices(user_ids))
    return {
        fold: _profiles_on_day(records.filter(pc.less_equal(records["day"], day)), params, sorted_ids, day)
        for fold, day in split.known_until.items()
    }


def _profiles_on_day(records: pa.Table, params: SnapshotConfig, user_ids: pa.Array, day: date) -> pa.Table:
    """Return the newest record of each user as columns."""
    latest = latest_records(records, "user_id")
    user_records = latest.take(pc.index_in(user_ids, latest["user_id"].combine_chunks()))
    registered = user_records["registration_time"].cast(pa.date32())
    days = pc.days_between(registered, pa.array([day] * len(user_ids), pa.date32()))
    profiles = [dict(profile or ()) for profile in user_records["profile"].to_pylist()]
    columns: dict[str, pa.Array] = {
        "user_id": user_ids,
        "registration_day": registered,
        "days_registered": pc.cast(days, pa.float64()),
    }
    for name in params.profile_categories:
        columns[name] = pa.array([profile.get(name) for profile in profiles], pa.string())
    for name in params.profile_numbers:
        columns[name] = pa.array([_parse_number(profile.get(name)) for profile in profiles], pa.float64())
    return pa.table(columns)


def _parse_number(text: str | None) -> float | None:
    """Parse a profile value as a number. A range or a word counts as unknown."""
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and np.isfinite(value) else None
