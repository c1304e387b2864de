"""Maintenance of the tables: join small files, forget old versions, delete files that no table needs.

Maintenance never changes the rows of a table. It may run while a night runs.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table

from core.storage import StoragePath, file_path, is_local, list_files_below
from core.tables import DICTIONARY_COLUMNS, TABLES
from lake.client import METADATA_PROPERTIES, Lake
from lake.data_files import DataFile, Replacement, list_data_files, open_dataset, replace_files

MAINTENANCE_LOCK = "maintain"  # only one process at a time expires versions and deletes files
ROW_GROUP_ROWS = 1 << 17
ROW_GROUP_BYTES = 64 << 20  # rows of sequences and features are large


@dataclass(frozen=True)
class MaintenancePolicy:
    """What maintenance keeps.

    Attributes:
        target_bytes: size of a joined file. A file of at least half of it is left as it is.
        keep_versions: how long a version of a table stays readable after another one took its place.
        min_age: age of a file below which it may belong to a running step. It must be longer than any step.
    """

    target_bytes: int
    keep_versions: timedelta
    min_age: timedelta


@dataclass(frozen=True)
class TableSize:
    """The size of a table on disk.

    Attributes:
        rows: rows of the present version.
        data_files: files of the present version.
        files: all files in the table's folder.
        num_bytes: their size.
        versions: versions that can be read.
    """

    rows: int
    data_files: int
    files: int
    num_bytes: int
    versions: int


@dataclass(frozen=True)
class TableMaintenance:
    """What maintenance did to a table, or would do in a dry run.

    Attributes:
        name: the table.
        before: its size before.
        after: its size after. It is equal to `before` in a dry run.
        joined_files: small files that were joined to larger ones.
        expired_versions: versions that can no longer be read.
        deleted_files: files that no version needed.
    """

    name: str
    before: TableSize
    after: TableSize
    joined_files: int
    expired_versions: int
    deleted_files: int


def maintain_table(
    lake: Lake,
    name: str,
    policy: MaintenancePolicy,
    needed_versions: Collection[int] = (),
    dry_run: bool = False,
) -> TableMaintenance:
    """Join small files, expire old versions and delete unreferenced files of one table.

    Args:
        lake: the lake.
        name: the table.
        policy: what to keep.
        needed_versions: versions that stay, whatever their age.
        dry_run: whether to change nothing.
    """
    with lake.lock(MAINTENANCE_LOCK):
        before = measure_table(lake, name)
        small_files = _small_files(lake, name, policy.target_bytes)
        joined = len([file for group in small_files for file in group])
        if not dry_run:
            joined = compact(lake, name, small_files)
        expired = expired_versions(lake.table(name), policy.keep_versions, needed_versions)
        if not dry_run:
            expire_versions(lake, name, expired)
        orphans = orphan_files(lake, name, policy.min_age, expired)
        if not dry_run:
            delete_files(lake, name, orphans)
        after = before if dry_run else measure_table(lake, name)
    return TableMaintenance(name, before, after, joined, len(expired), len(orphans))


def measure_table(lake: Lake, name: str) -> TableSize:
    """Return the size of a table and of its folder."""
    table, data_files = lake.table(name), list_data_files(lake, name)
    files = list_files_below(_folder(lake, name))
    return TableSize(
        sum(file.rows for file in data_files),
        len(data_files),
        len(files),
        sum(status.size for status in files.values()),
        len(table.metadata.snapshots),
    )


def _small_files(lake: Lake, name: str, target_bytes: int) -> list[list[DataFile]]:
    """Return groups of small files of one partition, each of at most the target size and at least two."""
    groups: list[list[DataFile]] = []
    small = [file for file in list_data_files(lake, name) if file.num_bytes < target_bytes / 2]
    for file in sorted(small, key=lambda file: (str(file.partition), file.path)):
        group = groups[-1] if groups else []
        size = sum(member.num_bytes for member in group) + file.num_bytes
        if group and group[0].partition == file.partition and size <= target_bytes:
            group.append(file)
        else:
            groups.append([file])
    return [group for group in groups if len(group) > 1]


def compact(lake: Lake, name: str, groups: Sequence[Sequence[DataFile]]) -> int:
    """Join each group of files to one file, in one transaction. Return how many files were joined."""
    if not groups:
        return 0
    folder = lake.create_staging_folder(name)
    replacements = []
    for number, group in enumerate(groups):
        joined = folder / f"part-{number:05d}.parquet"
        batches = open_dataset([file.path for file in group], TABLES[name].schema).to_batches()
        write_batches(joined, name, batches)
        replacements.append(Replacement(group, [joined]))
    made = replace_files(lake, name, replacements)
    for replacement in replacements:
        if replacement not in made:  # a step has replaced the partition
            replacement.new[0].unlink()
    return sum(len(replacement.old) for replacement in made)


def write_batches(path: StoragePath, name: str, batches: Iterator[pa.RecordBatch]) -> int:
    """Write rows of a table as a Parquet file, with large row groups. Return their number."""
    schema, num_rows = TABLES[name].schema, 0
    dictionaries = DICTIONARY_COLUMNS.get(name, True)
    with path.open("wb") as file, pq.ParquetWriter(file, schema, use_dictionary=dictionaries) as writer:
        pending: list[pa.RecordBatch] = []
        for batch in batches:
            num_rows += batch.num_rows
            pending.append(batch)
            if (
                sum(part.num_rows for part in pending) >= ROW_GROUP_ROWS
                or sum(part.nbytes for part in pending) >= ROW_GROUP_BYTES
            ):
                writer.write_table(pa.Table.from_batches(pending, schema))
                pending = []
        if pending:
            writer.write_table(pa.Table.from_batches(pending, schema))
    return num_rows


def expired_versions(
    table: Table, keep_versions: timedelta, needed_versions: Collection[int] = ()
) -> list[int]:
    """Return the versions that were replaced longer ago than `keep_versions`.

    So a version that a night has read stays for that time after the night. Heads of branches and tags stay.

    Args:
        table: the Iceberg table.
        keep_versions: how long a replaced version stays.
        needed_versions: versions that stay in any case.
    """
    history = table.history()
    replaced_at = {entry.snapshot_id: following.timestamp_ms for entry, following in pairwise(history)}
    heads = {ref.snapshot_id for ref in table.metadata.refs.values()}
    oldest_ms = (datetime.now(UTC) - keep_versions).timestamp() * 1000
    return [
        snapshot.snapshot_id
        for snapshot in table.metadata.snapshots
        if replaced_at.get(snapshot.snapshot_id, snapshot.timestamp_ms) < oldest_ms
        and snapshot.snapshot_id not in heads | set(needed_versions)
    ]


def expire_versions(lake: Lake, name: str, versions: Collection[int]) -> None:
    """Forget versions of a table. Their files stay until `delete_files`."""
    with lake.lock(f"commit-{name}"):
        table = lake.table(name)
        if missing := METADATA_PROPERTIES.items() - table.properties.items():  # made by an older version
            with table.transaction() as transaction:
                transaction.set_properties(dict(missing))
        if versions:
            table.maintenance.expire_snapshots().by_ids(list(versions)).commit()


def orphan_files(
    lake: Lake, name: str, min_age: timedelta, expired: Collection[int] = ()
) -> list[StoragePath]:
    """Return the files in a table's folder that the table does not need, sorted by path.

    The files are listed before the table is read. So a file that is committed in between is not returned.

    Args:
        lake: the lake.
        name: the table.
        min_age: younger files are left out, because a running step may commit them.
        expired: versions that need no files.
    """
    newest = (datetime.now(UTC) - min_age).timestamp()
    files = list_files_below(_folder(lake, name))
    old_files = [path for path, status in files.items() if status.modified <= newest]
    needed = _needed_files(lake.table(name), expired)
    return [path for path in old_files if path not in needed]


def _needed_files(table: Table, expired: Collection[int]) -> set[StoragePath]:
    """Return the metadata and data files of all versions of a table but the expired ones."""
    needed = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    manifests: dict[str, ManifestFile] = {}
    for snapshot in table.metadata.snapshots:
        if snapshot.snapshot_id not in expired:
            needed.add(snapshot.manifest_list)
            manifests |= {manifest.manifest_path: manifest for manifest in snapshot.manifests(table.io)}
    for path, manifest in manifests.items():
        needed.add(path)
        needed |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return {file_path(path) for path in needed}


def delete_files(lake: Lake, name: str, paths: Collection[StoragePath]) -> None:
    """Delete files of a table's folder, and the folders that this leaves empty."""
    root = _folder(lake, name)
    for path in paths:
        path.unlink(missing_ok=True)
    if is_local(root):
        _delete_empty_folders(root, [path for path in paths if is_local(path)])


def _delete_empty_folders(root: Path, paths: Collection[Path]) -> None:
    for folder in sorted({parent for path in paths for parent in path.parents}, reverse=True):
        if root in folder.parent.parents and not any(folder.iterdir()):  # not `data` and `metadata`
            folder.rmdir()


def _folder(lake: Lake, name: str) -> StoragePath:
    return file_path(lake.table(name).location())
