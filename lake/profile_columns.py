"""Check the parameters that name profile columns against the profiles in the lake."""

from collections.abc import Collection
from datetime import date

import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.config import SnapshotConfig
from core.errors import InputError
from core.storage import arrow_source, file_path
from lake.client import Lake, up_to_day


def require_profile_columns(lake: Lake, params: SnapshotConfig, until: date) -> None:
    """Check that each profile column of the parameters is in a profile. Without profiles, all are accepted.

    Args:
        lake: the lake, with the table `users`.
        params: section `snapshot` of params.yaml.
        until: the newest day whose profiles count.

    Raises:
        InputError: params.yaml names a profile column that no profile has.
    """
    wanted = {*params.profile_categories, *params.profile_numbers}
    known = _profile_columns(lake, until, wanted) if wanted else set()
    for key in ("profile_categories", "profile_numbers"):
        for name in getattr(params, key):
            if known and name not in known:
                raise InputError(
                    f"params.yaml: snapshot.{key} names {name!r}, which no user profile has;"
                    f" use some of {', '.join(sorted(known))}, or remove it"
                )


def _profile_columns(lake: Lake, until: date, wanted: Collection[str]) -> set[str]:
    """Return the columns that profiles have. Reading stops as soon as all wanted ones were seen."""
    known: set[str] = set()
    for path in lake.data_files("users", up_to_day(until)):
        for batch in pq.ParquetFile(arrow_source(file_path(path))).iter_batches(columns=["profile"]):
            known.update(pc.unique(batch["profile"].keys).to_pylist())
            if known.issuperset(wanted):
                return known
    return known
