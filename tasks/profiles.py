"""The profiles that a night's snapshot holds, as they were known on a day."""

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import InputError
from contracts.lake import Lake, up_to
from contracts.model_params import Snapshot
from contracts.split import Split


def users_of(lake: Lake, params: Snapshot, people: pa.Array, split: Split) -> dict[str, pa.Table]:
    """Profiles of the people in the snapshot, as they were known when training ended and when the test began.

    Both tables hold the same people in the same order; who had no profile by then gets nulls.

    Raises:
        InputError: people have profiles, and none ever had a column that params.yaml names.
    """
    records = lake.scan("users", up_to(split.known))
    _need_columns(params, sorted(pc.unique(records["profile"].combine_chunks().keys).to_pylist()))
    ordered = people.take(pc.array_sort_indices(people))
    return {
        name: _profiles(records.filter(pc.less_equal(records["day"], day)), params, ordered, day)
        for name, day in (("train", split.train), ("test", split.known))
    }


def _profiles(records: pa.Table, params: Snapshot, people: pa.Array, day: date) -> pa.Table:
    """The newest of these records for each of the people, as columns."""
    current = newest(records, "user_id")
    mine = current.take(pc.index_in(people, current["user_id"].combine_chunks()))
    registered = mine["registration_time"].cast(pa.date32())
    days = pc.days_between(registered, pa.array([day] * len(people), pa.date32()))
    profiles = [dict(profile or ()) for profile in mine["profile"].to_pylist()]
    columns: dict[str, pa.Array] = {
        "user_id": people,
        "registration_day": registered,
        "days_registered": pc.cast(days, pa.float64()),
    }
    for name in params.profile_categories:
        columns[name] = pa.array([profile.get(name) for profile in profiles], pa.string())
    for name in params.profile_numbers:
        columns[name] = pa.array([_number(profile.get(name)) for profile in profiles], pa.float64())
    return pa.table(columns)


def _need_columns(params: Snapshot, there: list[str]) -> None:
    for key in ("profile_categories", "profile_numbers"):
        for name in getattr(params, key):
            if there and name not in there:
                raise InputError(
                    f"params.yaml: snapshot.{key} has {name!r}, which no profile has ever had;"
                    f" they have {', '.join(there)}: name what is there, or leave it out"
                )


def _number(text: str | None) -> float | None:
    """A profile value as a number; what is none (a range, a word) counts as unknown."""
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and np.isfinite(value) else None


def newest(table: pa.Table, key: str) -> pa.Table:
    """The newest record of each key, sorted by key."""
    order = [
        (key, "ascending"),
        ("day", "descending"),
        ("source_file", "descending"),
        ("source_line", "descending"),
    ]
    ordered = table.sort_by(order)
    keys = ordered[key].to_numpy(zero_copy_only=False)
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    return ordered.filter(pa.array(first)).combine_chunks()
