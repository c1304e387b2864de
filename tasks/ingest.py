"""Take landing files into `events`, `users`, `videos` and `features`, each file once, known by its content.

A day whose files are as they were is left alone; a day with a new or changed file is replaced as a whole.
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
from contracts.landing import Kind, Refused
from contracts.params import Ingest
from contracts.place import Night
from contracts.receipts import Receipt, Rows
from contracts.tables import TABLES


@dataclass(frozen=True)
class Landed:
    """A landing file, known by its content."""

    path: Path
    name: str  # relative to the landing folder
    digest: str


def run(params: Ingest, night: Night) -> Receipt:
    """Ingest every day up to the night that has new or changed files.

    Raises:
        InputError: the night has no events folder, or a file cannot be read.
    """
    root, lake = place.landing(), Lake()
    if not landing.files(root, "events", night.day):
        raise InputError(
            f"{root}/events/dt={night.day} holds no files; land the night's events there "
            "(docs/data-contract.md), or point UNDERCURRENT_LANDING at the folder that has them"
        )
    counts: Counter[str] = Counter()
    ledger = lake.scan("landings").to_pylist()
    for kind in landing.KINDS.values():
        counts.update(_ingest_kind(lake, root, kind, night.day, ledger, params.batch_rows))
    rejected = {reason: n for reason, n in counts.items() if reason not in ("rows", "kept", "files", "days")}
    tables = ("events", "users", "videos", "features", "landings", "rejects")
    return Receipt(
        writes={name: lake.version(name) for name in tables},
        rows=Rows(counts["rows"], counts["kept"], rejected),
        digests={"landed": _digest(lake, night.day)},
        facts={"new_files": counts["files"], "new_days": counts["days"], "night": _night(lake, night.day)},
    )


def _ingest_kind(
    lake: Lake, root: Path, kind: Kind, until: date, ledger: list[dict], batch_rows: int
) -> Counter[str]:
    """Replace the days of one kind whose files changed; returns the counts.

    Rows are committed first, then rejects, then the ledger: after a crash the ledger lacks the files, and the
    next run takes them again.
    """
    listing = _listing(root, kind, until)
    done: dict[date, set[str]] = {}
    for row in ledger:
        if row["kind"] == kind.name:
            done.setdefault(row["day"], set()).add(row["digest"])
    changed = [day for day, landed in listing.items() if {file.digest for file in landed} != done.get(day)]
    if not changed:
        return Counter()
    kept, refused, entries = _Parts(lake, kind.table.name), _Parts(lake, "rejects"), []
    counts: Counter[str] = Counter(days=len(changed))
    for day in tqdm(changed, f"ingest {kind.name}", unit="day"):
        for file in listing[day]:
            entry, reasons = _take(file, kind, day, batch_rows, kept, refused)
            entries.append(entry)
            counts.update(reasons)
            counts.update(files=1, rows=entry["rows"], kept=entry["kept"])
    fingerprint = {"fingerprint": landing.LANDED} if kind.name == "features" else {}
    lake.commit(kind.table.name, [{"day": day} | fingerprint for day in changed], kept.close())
    lake.commit("rejects", [{"day": day, "step": f"ingest.{kind.name}"} for day in changed], refused.close())
    lake.write("landings", pa.Table.from_pylist(entries), [{"day": d, "kind": kind.name} for d in changed])
    return counts


def _listing(root: Path, kind: Kind, until: date) -> dict[date, list[Landed]]:
    """The files of each day; a file that came before under another name or day is left out."""
    seen: set[str] = set()
    listing: dict[date, list[Landed]] = {}
    for day in landing.days(root, kind.name):
        if day > until:
            break
        for path in landing.files(root, kind.name, day):
            file = Landed(path, path.relative_to(root).as_posix(), digests.of_file(path))
            if file.digest not in seen:
                listing.setdefault(day, []).append(file)
            seen.add(file.digest)
    return listing


def _take(
    file: Landed, kind: Kind, day: date, batch_rows: int, kept: "_Parts", refused: "_Parts"
) -> tuple[dict[str, Any], Counter[str]]:
    """Read one file into the parts of its day; returns its entry in the ledger and why lines were refused."""
    entry: dict[str, Any] = {"kind": kind.name, "day": day, "path": file.name, "digest": file.digest}
    entry |= {"rows": 0, "kept": 0, "rejected": 0}
    reasons: Counter[str] = Counter()
    for rows, rejects in _batches(file, kind, day, batch_rows):
        kept.add(day, rows)
        refused.add(day, rejects)
        reasons.update(row["reason"] for row in rejects)
        entry["rows"] += len(rows) + len(rejects)
        entry["kept"] += len(rows)
        entry["rejected"] += len(rejects)
    return entry, reasons


def _batches(file: Landed, kind: Kind, day: date, size: int) -> Iterator[tuple[list[dict], list[dict]]]:
    """A file's rows and rejects, `size` records at a time."""
    rows: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    for line, raw, row in landing.read(file.path, kind):
        source = {"day": day, "source_file": file.name, "source_line": line}
        source |= {"source": f"{file.name} {line:012d}"}  # of features: it orders the deliveries of a day
        if isinstance(row, Refused):
            record = f"{row}\n{landing.as_text(raw)}"
            rejects.append(
                {"step": f"ingest.{kind.name}", "reason": row.reason, "received_day": day, "record": record}
                | source
            )
        else:
            rows.append(row | source)
        if len(rows) + len(rejects) >= size:
            yield rows, rejects
            rows, rejects = [], []
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
