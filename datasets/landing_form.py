"""Shared by all importers: read the tables of a release strictly, and write landing files."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv
from tqdm import tqdm

from core.errors import InputError
from core.records import LANDING_TYPES

Record = dict[str, Any]
RecordsByDay = dict[date, list[Record]]


@dataclass(frozen=True)
class Release:
    """A public data set as landing records.

    Attributes:
        days_by_type: Landing type -> day received -> records, in the order of writing.
        notes: Remarks on the files that were read.
    """

    days_by_type: Mapping[str, RecordsByDay]
    notes: list[str] = field(default_factory=list)

    def users_by_day(self) -> dict[date, set[str]]:
        """Return day -> users with events, oldest day first."""
        events = self.days_by_type.get("events", {})
        return {day: {event["user_id"] for event in events[day]} for day in sorted(events)}


def read_table(
    path: Path, columns: Mapping[str, pa.DataType], separator: str = ",", nullable: Sequence[str] = ()
) -> list[Record]:
    """Read the named columns of a text table. An empty cell is None.

    Args:
        path: The file.
        columns: Column -> type.
        separator: The character between cells.
        nullable: Columns that may have empty cells.

    Returns:
        One record per row.

    Raises:
        InputError: The file or a column is missing, a cell has another type or is empty, or there are no
            rows.
    """
    try:
        table = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=columns,
                include_columns=list(columns),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is not the expected table ({reason}); it needs {', '.join(columns)}"
        ) from None
    if not table.num_rows:
        raise InputError(f"{path} has no rows; get the release's own file")
    for name in columns:
        if pa.types.is_floating(table[name].type):  # "nan" stands for no value; infinite is invalid
            finite = pc.if_else(pc.is_finite(table[name]), table[name], None)
            table = table.set_column(table.schema.get_field_index(name), name, finite)
        if table[name].null_count and name not in nullable:
            raise InputError(f"{path}: column {name} is empty in some rows; get the release's own file")
    return table.to_pylist()


def require_files(path: Path, files: Iterable[str]) -> None:
    """Raise InputError if the folder or one of its files is missing."""
    if not path.is_dir():
        raise InputError(f"--path {path} is not a folder; it must hold {', '.join(files)}")
    missing = [name for name in files if not (path / name).exists()]
    if missing:
        raise InputError(f"--path {path} lacks {', '.join(missing)}; get the release's own files")


def utc_time(milliseconds: int) -> datetime:
    """Convert milliseconds since 1970 to a UTC time.

    Raises:
        InputError: The time is after the year 9999.
    """
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(milliseconds))
    except OverflowError:
        raise InputError(
            f"{milliseconds} is not a valid time in ms since 1970; get the release's own file"
        ) from None


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
        if path not in files
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


def possible_nights(release: Release) -> dict[date, int]:
    """Return the days that can be a night, each with the number of its users that have earlier events.

    A night needs events on its own day, on the day before (validation) and on an earlier day (training).
    """
    returning_users: dict[date, int] = {}
    users_by_day = release.users_by_day()
    earlier_users: set[str] = set()
    first = min(users_by_day, default=date.max)
    for day, users in users_by_day.items():
        if day - timedelta(1) in users_by_day and first <= day - timedelta(2):
            returning_users[day] = len(users & earlier_users)
        earlier_users |= users
    return returning_users
