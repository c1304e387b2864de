"""What the data checks said of each night, and which nights' rows a later night may not see."""

from datetime import date

import pyarrow as pa

from contracts import digests
from contracts.lake import Lake
from contracts.tables import AUDITS

BLOCKED = "blocked"


def note(day: date, outcome: str) -> None:
    """Keep what the checks said of a night, and of which event files, in place of what they said before."""
    lake = Lake()
    told = {"day": day, "outcome": outcome, "events": _event_files(lake).get(day)}
    lake.write("audits", pa.Table.from_pylist([told], AUDITS.schema), [{"day": day}])


def lake_of(night: date) -> Lake:
    """The lake as a night may see it.

    Left out is what an earlier night brought that the checks have blocked, or whose event files are others
    now than those that were checked. A night that was never checked can be seen.
    """
    lake = Lake()
    files = _event_files(lake)
    told = [row for row in lake.scan("audits").to_pylist() if row["day"] < night and row["day"] in files]
    hidden = {row["day"] for row in told if row["outcome"] == BLOCKED or row["events"] != files[row["day"]]}
    return Lake(without=hidden)


def _event_files(lake: Lake) -> dict[date, str]:
    """Day -> a digest of the event files that were taken in for it."""
    found: dict[date, list[str]] = {}
    for row in lake.scan("landings", "kind = 'events'", ("day", "digest")).to_pylist():
        found.setdefault(row["day"], []).append(row["digest"])
    return {day: digests.of_lines(sorted(files)) for day, files in found.items()}
