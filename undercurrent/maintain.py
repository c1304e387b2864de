"""Maintenance of all tables of the lake: small files, old versions, files that no table needs."""

from collections.abc import Iterator, Sequence

from tqdm import tqdm

from core.tables import TABLES
from core.text_table import format_table
from lake.client import Lake
from lake.maintenance import MaintenancePolicy, TableMaintenance, maintain_table
from spark_jobs.cleaned_days import cleaned_days

MIB = 1 << 20
HEADER = ("table", "data files", "files", "MiB", "versions", "joined", "expired", "deleted")


def maintain(policy: MaintenancePolicy, dry_run: bool = False) -> list[TableMaintenance]:
    """Maintain every table, one after another.

    Args:
        policy: What to keep.
        dry_run: Whether to change nothing.
    """
    lake = Lake()
    needed = {"videos": _catalogue_versions(lake)}
    return [
        maintain_table(lake, name, policy, needed.get(name, ()), dry_run)
        for name in tqdm(TABLES, "maintain", unit="table")
    ]


def _catalogue_versions(lake: Lake) -> set[int]:
    """Return the versions of `videos` that `clean` compares with the present one."""
    keys = [cleaned.catalogue_key.split(" ")[0] for cleaned in cleaned_days(lake).values()]
    return {int(version) for version in keys if version not in ("", "None")}


def format_results(results: Sequence[TableMaintenance]) -> str:
    """Return one line for each table. `12 → 3` is before and after."""
    return format_table([HEADER, *(tuple(_cells(result)) for result in results)])


def _cells(result: TableMaintenance) -> Iterator[str]:
    before, after = result.before, result.after
    yield result.name
    yield f"{before.data_files} → {after.data_files}"
    yield f"{before.files} → {after.files}"
    yield f"{before.num_bytes / MIB:.1f} → {after.num_bytes / MIB:.1f}"
    yield f"{before.versions} → {after.versions}"
    yield from (str(n) for n in (result.joined_files, result.expired_versions, result.deleted_files))
