"""Read landing files into the tables `events`, `users`, `videos` and `features`.

A file is identified by its content and read once. If a file of a day is new, changed or withdrawn, the whole
day is replaced. Other days do not change. A day whose folder is missing was archived, and its rows stay.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from core import hashing, paths, step_cli
from core.config import IngestConfig
from core.errors import InputError
from core.paths import Night
from core.records import LANDED_FINGERPRINT, LANDING_TYPES, LandingType, RecordRejected
from core.run_manifests import RowCounts, RunManifest
from core.tables import TABLES
from lake import landing
from lake.client import Lake
from lake.landing import LandingLimits

KIB = 1024
BATCH_BYTES = 64 * KIB * KIB


@dataclass(frozen=True)
class LandingFile:
    """A landing file.

    Attributes:
        path: Its path.
        name: Its path relative to the landing folder.
        digest: A digest of its content.
    """

    path: Path
    name: str
    digest: str


def run(params: IngestConfig, night: Night) -> RunManifest:
    """Ingest every day up to the night that has new or changed files.

    Raises:
        InputError: The night has no events, or a file or folder cannot be read.
    """
    root, lake = paths.landing(), Lake()
    landing.check_folder_names(root)
    if not landing.list_files(root, "events", night.day):
        raise InputError(
            f"{root}/events/dt={night.day} holds no files; deliver the night's events there "
            "(docs/data-contract.md), or set UNDERCURRENT_LANDING to the folder that has them"
        )
    counts: Counter[str] = Counter()
    with lake.lock("ingest"):
        ledger = lake.scan("landings").to_pylist()
        for landing_type in LANDING_TYPES.values():
            counts.update(_ingest_type(lake, root, landing_type, night.day, ledger, params))
    rejected = {reason: n for reason, n in counts.items() if reason not in ("rows", "kept", "files", "days")}
    tables = ("events", "users", "videos", "features", "landings", "rejects")
    return RunManifest(
        writes={name: lake.version(name) for name in tables},
        row_counts=RowCounts(counts["rows"], counts["kept"], rejected),
        digests={"landed": _ingested_digest(lake, night.day)},
        facts={
            "new_files": counts["files"],
            "new_days": counts["days"],
            "night": _night_counts(lake, night.day),
        },
    )


def _ingest_type(
    lake: Lake, root: Path, landing_type: LandingType, until: date, ledger: list[dict], params: IngestConfig
) -> Counter[str]:
    """Replace the days of one landing type whose files changed, and return the counts.

    The ledger of the days is deleted first and written last. So a killed run is repeated, even if the files
    have changed again.
    """
    listing, changed = _changed_files(
        root, landing_type, until, [row for row in ledger if row["kind"] == landing_type.name]
    )
    if not changed:
        return Counter()
    row_writer, reject_writer = (
        _PartitionWriter(lake, landing_type.table.name),
        _PartitionWriter(lake, "rejects"),
    )
    entries: list[dict[str, Any]] = []
    counts: Counter[str] = Counter(days=len(changed))
    for day in tqdm(changed, f"ingest {landing_type.name}", unit="day"):
        for file in listing[day]:
            entry, reasons = _ingest_file(file, landing_type, day, params, row_writer, reject_writer)
            entries.append(entry)
            counts.update(reasons)
            counts.update(files=1, rows=entry["rows"], kept=entry["kept"])
    schema = TABLES["landings"].schema
    ledger_partitions = [{"day": day, "kind": landing_type.name} for day in changed]
    lake.write("landings", schema.empty_table(), ledger_partitions)
    fingerprint = {"fingerprint": LANDED_FINGERPRINT} if landing_type.name == "features" else {}
    lake.commit(landing_type.table.name, [{"day": day} | fingerprint for day in changed], row_writer.close())
    lake.commit(
        "rejects",
        [{"day": day, "step": f"ingest.{landing_type.name}"} for day in changed],
        reject_writer.close(),
    )
    lake.write("landings", pa.Table.from_pylist(entries, schema), ledger_partitions)
    return counts


def _changed_files(
    root: Path, landing_type: LandingType, until: date, ledger: list[dict]
) -> tuple[dict[date, list[LandingFile]], list[date]]:
    """Return the files of each day that has a folder, and the days whose files have changed."""
    existing_days = set(landing.list_days(root, landing_type.name))
    archived = {row["digest"] for row in ledger if row["day"] not in existing_days}
    ingested: dict[date, set[tuple[str, str]]] = {}
    for row in ledger:
        ingested.setdefault(row["day"], set()).add(_file_key(landing_type, row["path"], row["digest"]))
    listing = _list_files(root, landing_type, until, archived)
    current = {
        d: {_file_key(landing_type, file.name, file.digest) for file in files} for d, files in listing.items()
    }
    return listing, sorted(day for day, files in current.items() if files != ingested.get(day, set()))


def _list_files(
    root: Path, landing_type: LandingType, until: date, archived: set[str]
) -> dict[date, list[LandingFile]]:
    """Return the files of each day that has a folder.

    An event file counts once, even if another folder or an archived day holds the same file. A file of states
    counts again, because a state can return.
    """
    seen = set(archived)
    listing: dict[date, list[LandingFile]] = {}
    for day in landing.list_days(root, landing_type.name):
        if day > until:
            break
        listing[day] = []
        for path in landing.list_files(root, landing_type.name, day):
            file = LandingFile(path, path.relative_to(root).as_posix(), _file_digest(path))
            if not landing_type.is_event_log or file.digest not in seen:
                listing[day].append(file)
            seen.add(file.digest)
    return listing


def _file_key(landing_type: LandingType, name: str, digest: str) -> tuple[str, str]:
    """Return the identity of a file. States include the name, because it decides which record is newest."""
    return ("" if landing_type.is_event_log else name), digest


def _file_digest(path: Path) -> str:
    try:
        return hashing.hash_file(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); deliver it again or delete it") from None


def _ingest_file(
    file: LandingFile,
    landing_type: LandingType,
    day: date,
    params: IngestConfig,
    row_writer: "_PartitionWriter",
    reject_writer: "_PartitionWriter",
) -> tuple[dict[str, Any], Counter[str]]:
    """Read one file into its day. Return its ledger entry and the number of rejects by reason."""
    entry: dict[str, Any] = {"kind": landing_type.name, "day": day, "path": file.name, "digest": file.digest}
    entry |= {"rows": 0, "kept": 0, "rejected": 0}
    reasons: Counter[str] = Counter()
    for rows, rejects in _read_batches(file, landing_type, day, params):
        row_writer.add(day, rows)
        reject_writer.add(day, rejects)
        reasons.update(row["reason"] for row in rejects)
        entry["rows"] += len(rows) + len(rejects)
        entry["kept"] += len(rows)
        entry["rejected"] += len(rejects)
    return entry, reasons


def _read_batches(
    file: LandingFile, landing_type: LandingType, day: date, params: IngestConfig
) -> Iterator[tuple[list[dict], list[dict]]]:
    """Yield the rows and rejects of a file in batches of `batch_rows` records or BATCH_BYTES."""
    rows: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    limits = LandingLimits(int(params.max_record_kib * KIB), int(params.max_file_mib * KIB * KIB))
    buffered_bytes = 0
    for line, raw, row in landing.read_records(file.path, landing_type, limits):
        source = {"day": day, "source_file": file.name, "source_line": line}
        source |= {"source": f"{file.name} {line:012d}"}  # orders the deliveries of features within a day
        buffered_bytes += landing.record_size(raw)
        if isinstance(row, RecordRejected):
            record = f"{row}\n{landing.record_text(raw)}"
            rejects.append(
                {
                    "step": f"ingest.{landing_type.name}",
                    "reason": row.reason,
                    "received_day": day,
                    "record": record,
                }
                | source
            )
        else:
            rows.append(row | source)
        if len(rows) + len(rejects) >= params.batch_rows or buffered_bytes >= BATCH_BYTES:
            yield rows, rejects
            rows, rejects, buffered_bytes = [], [], 0
    yield rows, rejects


class _PartitionWriter:
    """Writes rows to one Parquet file per day, which is opened at the first row."""

    def __init__(self, lake: Lake, table: str) -> None:
        self._schema = TABLES[table].schema
        self._lake, self._table = lake, table
        self._paths: list[Path] = []
        self._writer: pq.ParquetWriter | None = None
        self._day: date | None = None

    def add(self, day: date, rows: list[dict]) -> None:
        if not rows:
            return
        if self._writer is None or day != self._day:
            self.close()
            self._paths.append(self._lake.create_staging_folder(self._table) / "part-00000.parquet")
            self._writer, self._day = pq.ParquetWriter(self._paths[-1], self._schema), day
        self._writer.write_table(pa.Table.from_pylist(rows, self._schema))

    def close(self) -> list[Path]:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        return self._paths


def _night_counts(lake: Lake, day: date) -> dict[str, dict[str, int]]:
    """Count files and rows of the night's own landing files, whichever run ingested them."""
    totals: dict[str, dict[str, int]] = {}
    for row in lake.scan("landings").to_pylist():
        if row["day"] == day:
            total = totals.setdefault(row["kind"], {"files": 0, "rows": 0, "kept": 0, "rejected": 0})
            total["files"] += 1
            for count in ("rows", "kept", "rejected"):
                total[count] += row[count]
    return totals


def _ingested_digest(lake: Lake, until: date) -> str:
    """Return one digest over all files ingested up to the night."""
    rows = [row for row in lake.scan("landings").to_pylist() if row["day"] <= until]
    return hashing.hash_lines(sorted(f"{row['kind']} {row['day']} {row['digest']}" for row in rows))


if __name__ == "__main__":
    sys.exit(step_cli.main("ingest", run, __doc__))
