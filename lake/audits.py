"""The outcome of each night's data checks, and which nights are hidden from later nights."""

from datetime import date

import pyarrow as pa

from core import hashing
from core.tables import AUDITS
from lake.client import Lake

BLOCKED = "blocked"


def write_audit(night: date, outcome: str) -> None:
    """Store the outcome of a night's checks and a digest of the checked event files.

    The row replaces the night's earlier one.
    """
    lake = Lake()
    row = {"day": night, "outcome": outcome, "events": _event_digests(lake).get(night)}
    lake.write("audits", pa.Table.from_pylist([row], AUDITS.schema), [{"day": night}])


def visible_lake(night: date) -> Lake:
    """Return the lake as a night may see it.

    Earlier nights are hidden if the checks blocked them or if their event files changed after the check. A
    night that was never checked is visible.
    """
    lake = Lake()
    files = _event_digests(lake)
    audit_rows = [
        row for row in lake.scan("audits").to_pylist() if row["day"] < night and row["day"] in files
    ]
    hidden_days = {
        row["day"] for row in audit_rows if row["outcome"] == BLOCKED or row["events"] != files[row["day"]]
    }
    return Lake(hidden_days=hidden_days)


def _event_digests(lake: Lake) -> dict[date, str]:
    """Return day -> digest of the event files that were taken in for it."""
    digests_by_day: dict[date, list[str]] = {}
    for row in lake.scan("landings", "kind = 'events'", ("day", "digest")).to_pylist():
        digests_by_day.setdefault(row["day"], []).append(row["digest"])
    return {day: hashing.hash_lines(sorted(file_digests)) for day, file_digests in digests_by_day.items()}
