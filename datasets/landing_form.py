"""The landing form of a release: its records by day received, and the files that hold them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from tqdm import tqdm

from core.errors import InputError
from core.records import LANDING_TYPES
from datasets.release_tables import Record, ReleaseTable

RecordsByDay = dict[date, list[Record]]


@dataclass(frozen=True)
class Release:
    """A public data set as landing records.

    Attributes:
        days_by_type: Landing type -> day received -> records, in the order of writing.
        tables: The tables that were read, with their counts.
        notes: Remarks on the files that were read.
    """

    days_by_type: Mapping[str, RecordsByDay]
    tables: Sequence[ReleaseTable] = ()
    notes: Sequence[str] = ()


def require_files(path: Path, files: Iterable[str]) -> None:
    """Raise InputError if the folder or one of its files is missing."""
    if not path.is_dir():
        raise InputError(f"--path {path} is not a folder; it must hold {', '.join(files)}")
    missing = [name for name in files if not (path / name).exists()]
    if missing:
        raise InputError(f"--path {path} lacks {', '.join(missing)}; get the release's own files")


def utc_time(seconds: float) -> datetime:
    """Convert seconds since 1970 to a UTC time. `ReleaseTable.reject_invalid_time` gives the bounds."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=round(1000 * seconds))


def group_by_day(events: Iterable[Record]) -> RecordsByDay:
    """Group events by the UTC day of their `event_time` and keep their order.

    The `event_time` is a datetime and becomes text.
    """
    days: RecordsByDay = defaultdict(list)
    for event in events:
        event_time: datetime = event["event_time"]
        days[event_time.date()].append(event | {"event_time": event_time.isoformat().replace("+00:00", "Z")})
    return dict(sorted(days.items()))


def first_day_by_id(days: RecordsByDay, key: str) -> dict[str, date]:
    """Return id -> the first day on which it occurs."""
    first: dict[str, date] = {}
    for day in sorted(days):
        for record in days[day]:
            first.setdefault(record[key], day)
    return first


def write_landing_files(release: Release, source: str, out: Path) -> list[Path]:
    """Write `<out>/<landing type>/dt=<day>/<source>.jsonl`. The same release gives the same bytes.

    Returns:
        The files.

    Raises:
        InputError: `out` holds other landing files, which a night would read too.
    """
    files = {
        out / landing_type / f"dt={day}" / f"{source}.jsonl": records
        for landing_type, days in release.days_by_type.items()
        for day, records in sorted(days.items())
    }
    others = [
        path
        for landing_type in LANDING_TYPES
        for path in sorted(out.glob(f"{landing_type}/dt=*/*"))
        if path not in files and not path.name.startswith(".")  # of a killed import
    ]
    if others:
        raise InputError(f"{out} holds other landing files ({others[0]}); use another folder for --out")
    for path, records in tqdm(files.items(), f"import {source}", unit="file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(_json_line(record) for record in records)
        temporary.replace(path)
    return list(files)


def _json_line(record: Record) -> str:
    """Return a record as one line of JSON, without its empty fields."""
    present = {name: value for name, value in record.items() if value is not None}
    return json.dumps(present, ensure_ascii=False, separators=(",", ":")) + "\n"
