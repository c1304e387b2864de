"""What the importers share: reading a release's tables strictly, and writing landing files."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv
from tqdm import tqdm

from contracts.errors import InputError
from contracts.records import KINDS

Record = dict[str, Any]
Days = dict[date, list[Record]]


@dataclass(frozen=True)
class Release:
    """A release in landing form.

    Attributes:
        kinds: kind of landing file -> day received -> records, in the order in which they are written.
        notes: what a reader should know about this very copy of the release, found while reading it.
    """

    kinds: Mapping[str, Days]
    notes: list[str] = field(default_factory=list)

    def people_by_day(self) -> dict[date, set[str]]:
        """Who has events on each day, oldest day first."""
        events = self.kinds.get("events", {})
        return {day: {event["user_id"] for event in events[day]} for day in sorted(events)}


def read_table(
    path: Path, columns: Mapping[str, pa.DataType], separator: str = ",", optional: Sequence[str] = ()
) -> list[Record]:
    """The named columns of a text table, row by row, as the given types; an empty cell is None.

    Raises:
        InputError: the file or a column is missing, a cell has another type or is empty, there are no rows.
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
        raise InputError(f"{path} is not the table expected ({reason}); needs {', '.join(columns)}") from None
    if not table.num_rows:
        raise InputError(f"{path} has no rows; get the release's own file")
    for name in columns:
        if pa.types.is_floating(table[name].type):  # in these files "nan" says that there is none
            known = pc.if_else(pc.is_finite(table[name]), table[name], None)
            table = table.set_column(table.schema.get_field_index(name), name, known)
        if table[name].null_count and name not in optional:
            raise InputError(f"{path}: column {name} is empty in some rows; get the release's own file")
    return table.to_pylist()


def need_folder(path: Path, files: Iterable[str]) -> None:
    """Raises InputError when the folder, or a file of it, is missing."""
    if not path.is_dir():
        raise InputError(f"--path {path} is not a folder; it must hold {', '.join(files)}")
    missing = [name for name in files if not (path / name).exists()]
    if missing:
        raise InputError(f"--path {path} holds no {' and no '.join(missing)}; get the release's own files")


def instant(milliseconds: int) -> datetime:
    """UTC time of epoch milliseconds.

    Raises:
        InputError: it lies beyond the year 9999.
    """
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(milliseconds))
    except OverflowError:
        raise InputError(f"{milliseconds} is no epoch time in ms; get the release's own file") from None


def by_day(events: Iterable[Record]) -> Days:
    """Events grouped by the UTC day of their `event_time` (a datetime, which becomes text), order kept."""
    days: Days = defaultdict(list)
    for event in events:
        at: datetime = event["event_time"]
        days[at.date()].append(event | {"event_time": at.isoformat().replace("+00:00", "Z")})
    return dict(sorted(days.items()))


def first_days(days: Days, key: str) -> dict[str, date]:
    """Id -> the first day on which it occurs."""
    first: dict[str, date] = {}
    for day in sorted(days):
        for record in days[day]:
            first.setdefault(record[key], day)
    return first


def write(release: Release, source: str, out: Path) -> list[Path]:
    """Write `<out>/<kind>/dt=<day>/<source>.jsonl`; the same release gives the same bytes.

    Raises:
        InputError: `out` holds landing files of something else, which a night would mix in.
    """
    files = {
        out / kind / f"dt={day}" / f"{source}.jsonl": records
        for kind, days in release.kinds.items()
        for day, records in sorted(days.items())
    }
    others = [path for kind in KINDS for path in sorted(out.glob(f"{kind}/dt=*/*")) if path not in files]
    if others:
        raise InputError(f"{out} holds other landing files ({others[0]}); give an --out of its own")
    for path, records in tqdm(files.items(), f"import {source}", unit="file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        with temporary.open("w", encoding="utf-8") as file:
            file.writelines(_line(record) for record in records)
        temporary.replace(path)
    return list(files)


def _line(record: Record) -> str:
    """A record without its unknown fields, as one line of JSON."""
    known = {name: value for name, value in record.items() if value is not None}
    return json.dumps(known, ensure_ascii=False, separators=(",", ":")) + "\n"


def nights(release: Release) -> dict[date, int]:
    """Days that can be a night -> how many of their people came before.

    A night needs events on its own day, on the day before (validation) and on an earlier one (training).
    """
    found: dict[date, int] = {}
    people = release.people_by_day()
    seen: Counter[str] = Counter()
    first = min(people, default=date.max)
    for day, mine in people.items():
        if day - timedelta(1) in people and first <= day - timedelta(2):
            found[day] = sum(user in seen for user in mine)
        seen.update(mine)
    return found
