"""Take landing files into `events`, `users`, `videos` and `features`, each file once, known by its content.

A day whose files are as they were is left alone; a day with a new, changed or withdrawn file is replaced as a
whole. A day whose folder is gone altogether was archived: its rows stay.
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

from contracts import digests, landing, place, step
from contracts.errors import InputError
from contracts.lake import Lake
from contracts.landing import Limits
from contracts.params import Ingest
from contracts.place import Night
from contracts.receipts import Receipt, Rows
from contracts.records import KINDS, LANDED, Kind, Refused
from contracts.tables import TABLES

KIB = 1024
BATCH_BYTES = 64 * KIB * KIB


@dataclass(frozen=True)
class Landed:
    """A landing file, known by its content."""

    path: Path
    name: str  # relative to the landing folder
    digest: str


def run(params: Ingest, night: Night) -> Receipt:
    """Ingest every day up to the night that has new or changed files.

    Raises:
        InputError: the night has no events, or something in the landing folder cannot be read.
    """
    root, lake = place.landing(), Lake()
    landing.check_kinds(root)
    if not landing.files(root, "events", night.day):
        raise InputError(
            f"{root}/events/dt={night.day} holds no files; land the night's events there "
            "(docs/data-contract.md), or point UNDERCURRENT_LANDING at the folder that has them"
        )
    counts: Counter[str] = Counter()
    with lake.alone("ingest"):
        ledger = lake.scan("landings").to_pylist()
        for kind in KINDS.values():
            counts.update(_ingest_kind(lake, root, kind, night.day, ledger, params))
    rejected = {reason: n for reason, n in counts.items() if reason not in ("rows", "kept", "files", "days")}
    tables = ("events", "users", "videos", "features", "landings", "rejects")
    return Receipt(
        writes={name: lake.version(name) for name in tables},
        rows=Rows(counts["rows"], counts["kept"], rejected),
        digests={"landed": _digest(lake, night.day)},
        facts={"new_files": counts["files"], "new_days": counts["days"], "night": _night(lake, night.day)},
    )


def _ingest_kind(
    lake: Lake, root: Path, kind: Kind, until: date, ledger: list[dict], params: Ingest
) -> Counter[str]:
    """Replace the days of one kind whose files changed; returns the counts.

    The ledger forgets the days first and learns their files last, so that a killed run is done again,
    whatever the files are by then.
    """
    listing, changed = _to_do(root, kind, until, [row for row in ledger if row["kind"] == kind.name])
    if not changed:
        return Counter()
    kept, refused, entries = _Parts(lake, kind.table.name), _Parts(lake, "rejects"), []
    counts: Counter[str] = Counter(days=len(changed))
    for day in tqdm(changed, f"ingest {kind.name}", unit="day"):
        for file in listing[day]:
            entry, reasons = _take(file, kind, day, params, kept, refused)
            entries.append(entry)
            counts.update(reasons)
            counts.update(files=1, rows=entry["rows"], kept=entry["kept"])
    schema, in_ledger = TABLES["landings"].schema, [{"day": day, "kind": kind.name} for day in changed]
    lake.write("landings", schema.empty_table(), in_ledger)
    fingerprint = {"fingerprint": LANDED} if kind.name == "features" else {}
    lake.commit(kind.table.name, [{"day": day} | fingerprint for day in changed], kept.close())
    lake.commit("rejects", [{"day": day, "step": f"ingest.{kind.name}"} for day in changed], refused.close())
    lake.write("landings", pa.Table.from_pylist(entries, schema), in_ledger)
    return counts


def _to_do(
    root: Path, kind: Kind, until: date, ledger: list[dict]
) -> tuple[dict[date, list[Landed]], list[date]]:
    """The files of each day that has a folder, and the days whose files are not those that were taken in."""
    there = set(landing.days(root, kind.name))
    archived = {row["digest"] for row in ledger if row["day"] not in there}
    done: dict[date, set[tuple[str, str]]] = {}
    for row in ledger:
        done.setdefault(row["day"], set()).add(_known_by(kind, row["path"], row["digest"]))
    listing = _listing(root, kind, until, archived)
    here = {d: {_known_by(kind, file.name, file.digest) for file in files} for d, files in listing.items()}
    return listing, sorted(day for day, files in here.items() if files != done.get(day, set()))


def _listing(root: Path, kind: Kind, until: date, archived: set[str]) -> dict[date, list[Landed]]:
    """The files of each day that has a folder.

    What happened (events) happened once, whichever folder tells it again: what an `archived` one told, too.
    A state may come back.
    """
    seen = set(archived)
    listing: dict[date, list[Landed]] = {}
    for day in landing.days(root, kind.name):
        if day > until:
            break
        listing[day] = []
        for path in landing.files(root, kind.name, day):
            file = Landed(path, path.relative_to(root).as_posix(), _digest_of(path))
            if not kind.happened or file.digest not in seen:
                listing[day].append(file)
            seen.add(file.digest)
    return listing


def _known_by(kind: Kind, name: str, digest: str) -> tuple[str, str]:
    """What a file taken in is known by. Of states also the name: it decides which is the newest."""
    return ("" if kind.happened else name), digest


def _digest_of(path: Path) -> str:
    try:
        return digests.of_file(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); deliver it again or remove it") from None


def _take(
    file: Landed, kind: Kind, day: date, params: Ingest, kept: "_Parts", refused: "_Parts"
) -> tuple[dict[str, Any], Counter[str]]:
    """Read one file into the parts of its day; returns its entry in the ledger and why lines were refused."""
    entry: dict[str, Any] = {"kind": kind.name, "day": day, "path": file.name, "digest": file.digest}
    entry |= {"rows": 0, "kept": 0, "rejected": 0}
    reasons: Counter[str] = Counter()
    for rows, rejects in _batches(file, kind, day, params):
        kept.add(day, rows)
        refused.add(day, rejects)
        reasons.update(row["reason"] for row in rejects)
        entry["rows"] += len(rows) + len(rejects)
        entry["kept"] += len(rows)
        entry["rejected"] += len(rejects)
    return entry, reasons


def _batches(file: Landed, kind: Kind, day: date, params: Ingest) -> Iterator[tuple[list[dict], list[dict]]]:
    """A file's rows and rejects, `batch_rows` records or BATCH_BYTES at a time."""
    rows: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    limits = Limits(int(params.max_record_kib * KIB), int(params.max_file_mib * KIB * KIB))
    held = 0
    for line, raw, row in landing.read(file.path, kind, limits):
        source = {"day": day, "source_file": file.name, "source_line": line}
        source |= {"source": f"{file.name} {line:012d}"}  # of features: it orders the deliveries of a day
        held += landing.size(raw)
        if isinstance(row, Refused):
            record = f"{row}\n{landing.as_text(raw)}"
            rejects.append(
                {"step": f"ingest.{kind.name}", "reason": row.reason, "received_day": day, "record": record}
                | source
            )
        else:
            rows.append(row | source)
        if len(rows) + len(rejects) >= params.batch_rows or held >= BATCH_BYTES:
            yield rows, rejects
            rows, rejects, held = [], [], 0
    yield rows, rejects


class _Parts:
    """Rows on their way into a table: one Parquet file a day, opened when there is a row to write."""

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
            self._paths.append(self._lake.staging(self._table) / "part-00000.parquet")
            self._writer, self._day = pq.ParquetWriter(self._paths[-1], self._schema), day
        self._writer.write_table(pa.Table.from_pylist(rows, self._schema))

    def close(self) -> list[Path]:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        return self._paths


def _night(lake: Lake, day: date) -> dict[str, dict[str, int]]:
    """What the night's own landing files brought, whichever run took them in."""
    totals: dict[str, dict[str, int]] = {}
    for row in lake.scan("landings").to_pylist():
        if row["day"] == day:
            total = totals.setdefault(row["kind"], {"files": 0, "rows": 0, "kept": 0, "rejected": 0})
            total["files"] += 1
            for count in ("rows", "kept", "rejected"):
                total[count] += row[count]
    return totals


def _digest(lake: Lake, until: date) -> str:
    """One digest over all files taken in up to the night."""
    rows = [row for row in lake.scan("landings").to_pylist() if row["day"] <= until]
    return digests.of_lines(sorted(f"{row['kind']} {row['day']} {row['digest']}" for row in rows))


if __name__ == "__main__":
    sys.exit(step.main("ingest", run, __doc__))
