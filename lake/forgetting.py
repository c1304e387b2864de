"""Delete the records of users from landing files and from the tables of the lake.

Every file is written again without the records, and replaces the old one at once. Records that stay keep
their line numbers.
"""

import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.expressions import EqualTo

from core import hashing
from core.errors import InputError
from core.records import LANDING_TYPES, LandingType, RecordRejected
from core.storage import StoragePath, arrow_source, file_path
from core.tables import EVENTS, TABLES, USERS
from lake.client import Lake
from lake.data_files import DataFile, Replacement, list_data_files, open_dataset, replace_files
from lake.json_records import open_json
from lake.landing import LandingLimits, list_days, list_files, read_records, record_text
from lake.maintenance import (
    MAINTENANCE_LOCK,
    delete_files,
    expire_versions,
    expired_versions,
    orphan_files,
    write_batches,
)
from lake.parquet_records import without_views
from lake.user_records import USER_ID, UserRecords, count_true

USER_TABLES = ("events", "users", "interactions", "sequences", "rejects")
# The locks of all that write files of these tables. Files that are not committed belong to their holders.
WRITER_LOCKS = ("ingest", "clean", "embed", "sequences", "snapshot", MAINTENANCE_LOCK)
LANDING_TYPES_OF_USERS = tuple(
    name for name, landing_type in LANDING_TYPES.items() if landing_type.table in (EVENTS, USERS)
)


@dataclass(frozen=True)
class Erasure:
    """Records that were deleted from one file.

    Attributes:
        name: the file, or the table that it belongs to.
        records: how many records were deleted.
        digest_before: digest of the file with the records.
        digest_after: digest of the file without them, or None if the file was deleted.
    """

    name: str
    records: int
    digest_before: str
    digest_after: str | None


def landing_files_of_users(root: StoragePath) -> Iterator[tuple[LandingType, StoragePath]]:
    """Yield all landing files that hold records of users."""
    for name in LANDING_TYPES_OF_USERS:
        for day in list_days(root, name):
            for path in list_files(root, name, day):
                yield LANDING_TYPES[name], path


def without_users(
    path: StoragePath, landing_type: LandingType, limits: LandingLimits, users: UserRecords
) -> tuple[StoragePath, int] | None:
    """Write a copy of a landing file without the records of users, next to it.

    In a JSON file a blank line takes the place of a record. In a Parquet file a row of nulls does. A line
    that is too long to be read is emptied too, because it could belong to a user.

    Args:
        path: the file.
        landing_type: its landing type.
        limits: limits of its size.
        users: the users.

    Returns:
        The copy and the number of deleted records, or None if the file has no record of the users.

    Raises:
        InputError: the file cannot be read.
    """
    copy = path.with_name(f".{path.name}.forget")
    records = (
        _copy_parquet(path, copy, users)
        if path.name.endswith(".parquet")
        else _copy_json(path, copy, landing_type, limits, users)
    )
    if not records:
        copy.unlink(missing_ok=True)
        return None
    return copy, records


def _copy_json(
    path: StoragePath,
    copy: StoragePath,
    landing_type: LandingType,
    limits: LandingLimits,
    users: UserRecords,
) -> int:
    with open_json(path) as file:
        if not users.may_be_in(file):
            return 0
    deleted, line = 0, 1
    with copy.open("wb") as stored_copy, _compressed(path, stored_copy) as output:
        for number, raw, result in read_records(path, landing_type, limits):
            output.write(b"\n" * (number - line))
            if isinstance(result, RecordRejected):
                is_deleted = not raw or users.is_in_record(record_text(raw, limits.max_record_bytes))
            else:
                is_deleted = result[USER_ID] in users.user_ids
            deleted += is_deleted
            output.write((b"" if is_deleted else raw) + b"\n")  # type: ignore[operator]  # JSON records are bytes
            line = number + 1
    return deleted


def _compressed(path: StoragePath, copy: IO[bytes]) -> IO[bytes]:
    """Return where to write a copy of a file. It holds no time, so that equal records give equal bytes."""
    if not path.name.endswith(".gz"):
        return copy
    return gzip.GzipFile("", "wb", fileobj=copy, mtime=0)  # type: ignore[return-value]


def _copy_parquet(path: StoragePath, copy: StoragePath, users: UserRecords) -> int:
    try:
        file = pq.ParquetFile(arrow_source(path))
        names = file.schema_arrow.names
        if names.count(USER_ID) > 1:
            raise InputError(f"{path} has two columns {USER_ID}; rename one of them and run again")
        if not users.count_in_parquet(arrow_source(path)):
            return 0
    except pa.ArrowException as error:
        raise InputError(f"{path} is not a readable Parquet file ({error}); deliver the file again") from None
    deleted = 0
    schema = without_views(pa.schema([field.with_nullable(True) for field in file.schema_arrow]))
    with copy.open("wb") as output, pq.ParquetWriter(output, schema) as writer:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group).cast(schema)
            mask = users.are_in(rows[USER_ID]).to_numpy()
            deleted += int(mask.sum())
            writer.write_table(rows.take(pa.array(np.arange(len(mask)), mask=mask)))
    return deleted


def update_ledger(lake: Lake, digests: Mapping[str, str]) -> None:
    """Store the digests and counts of rewritten landing files, so that `ingest` does not read them again.

    A file that was renamed has its old name in the ledger. So its digest identifies it.

    Args:
        lake: the lake.
        digests: digest before -> digest after.
    """
    rows = lake.scan("landings").to_pylist()
    changed_days = {(row["day"], row["kind"]) for row in rows if row["digest"] in digests}
    if not changed_days:
        return
    for row in rows:
        if row["digest"] in digests:
            row["digest"] = digests[row["digest"]]
            row["kept"] = _count_rows(lake, LANDING_TYPES[row["kind"]].table.name, row)
            row["rejected"] = _count_rows(lake, "rejects", row, f"ingest.{row['kind']}")
            row["rows"] = row["kept"] + row["rejected"]
    changed_rows = [row for row in rows if (row["day"], row["kind"]) in changed_days]
    lake.write(
        "landings",
        pa.Table.from_pylist(changed_rows, TABLES["landings"].schema),
        [{"day": day, "kind": kind} for day, kind in sorted(changed_days)],
    )


def _count_rows(lake: Lake, table: str, ledger_row: Mapping[str, object], step: str | None = None) -> int:
    """Count the rows of a table that came from one landing file."""
    where = EqualTo("day", ledger_row["day"])  # type: ignore[call-arg, arg-type]
    files = [file_path(address) for address in lake.data_files(table, where)]
    condition = pc.field("source_file") == ledger_row["path"]
    if step:
        condition &= pc.field("step") == step
    return open_dataset(files, TABLES[table].schema).count_rows(filter=condition)


def forget_in_table(
    lake: Lake, name: str, users: UserRecords, announce: Callable[[Sequence[Erasure]], None]
) -> None:
    """Delete the rows of users from a table, and all older versions of the table.

    The caller holds `WRITER_LOCKS`.

    Args:
        lake: the lake.
        name: the table.
        users: the users.
        announce: is called with the deletions before they are made.
    """
    counts = [(file, _count(name, file, users)) for file in list_data_files(lake, name)]
    replacements = [_rewrite(lake, name, file, records, users) for file, records in counts if records]
    announce([_erasure(name, replacement) for replacement in replacements])
    replace_files(lake, name, replacements)
    expire_versions(lake, name, expired_versions(lake.table(name), timedelta(0)))
    delete_files(lake, name, orphan_files(lake, name, timedelta(0)))


def _count(name: str, file: DataFile, users: UserRecords) -> int:
    column = "record" if name == "rejects" else USER_ID
    batches = pq.ParquetFile(arrow_source(file.path)).iter_batches(columns=[column])
    return sum(count_true(_mask(name, batch, users)) for batch in batches)


def _mask(name: str, batch: pa.RecordBatch, users: UserRecords) -> pa.Array:
    return users.are_in_rejects(batch["record"]) if name == "rejects" else users.are_in(batch[USER_ID])


def _rewrite(lake: Lake, name: str, file: DataFile, records: int, users: UserRecords) -> Replacement:
    """Write the rows of other users to a new file."""
    if records == file.rows:
        return Replacement([file], [], records)
    path = lake.create_staging_folder(name) / "part-00000.parquet"
    batches = open_dataset([file.path], TABLES[name].schema).to_batches()
    write_batches(path, name, (batch.filter(pc.invert(_mask(name, batch, users))) for batch in batches))
    return Replacement([file], [path], records)


def _erasure(name: str, replacement: Replacement) -> Erasure:
    before = hashing.hash_file(replacement.old[0].path)
    after = hashing.hash_file(replacement.new[0]) if replacement.new else None
    return Erasure(name, replacement.removed_rows, before, after)
