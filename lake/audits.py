"""The outcome of each night's data checks, and which nights are hidden from later nights."""

from datetime import date

import pyarrow as pa

from core import hashing
from core.tables import AUDITS
from lake.client import Lake, on_days

BLOCKED = "blocked"
PENDING = "pending"  # the night has begun, and its checks have not ended


def begin_audit(night: date) -> None:
    """Hide a night from later ones until its checks end. A night that has an outcome keeps it.

    It must be called before the rows of the night are written. So a night that is killed before its checks
    does not reach later nights.
    """
    lake = Lake()
    with lake.lock("audits"):  # an outcome that is stored at the same time must not be replaced
        if not lake.data_files("audits", on_days(night)):
            _write(lake, night, PENDING, None)


def write_audit(night: date, outcome: str) -> None:
    """Store the outcome of a night's checks and a digest of the checked event files.

    The row replaces the night's earlier one.
    """
    lake = Lake()
    with lake.lock("audits"):
        _write(lake, night, outcome, _event_digests(lake).get(night))


def visible_lake(night: date) -> Lake:
    """Return the lake as a night may see it.

    Earlier nights are hidden if the checks blocked them or have not ended, and if their event files changed
    after the checks. Days that no night of their own has processed are visible.
    """
    lake = Lake()
    files = _event_digests(lake)
    audit_rows = [
        row for row in lake.scan("audits").to_pylist() if row["day"] < night and row["day"] in files
    ]
    hidden_days = {
        row["day"]
        for row in audit_rows
        if row["outcome"] in (BLOCKED, PENDING) or row["events"] != files[row["day"]]
    }
    return Lake(hidden_days=hidden_days)


def _write(lake: Lake, night: date, outcome: str, events: str | None) -> None:
    row = {"day": night, "outcome": outcome, "events": events}
    lake.write("audits", pa.Table.from_pylist([row], AUDITS.schema), [{"day": night}])


def _event_digests(lake: Lake) -> dict[date, str]:
    """Return day -> digest of the event files that were taken in for it."""
    digests_by_day: dict[date, list[str]] = {}
    for row in lake.scan("landings", "kind = 'events'", ("day", "digest")).to_pylist():
        digests_by_day.setdefault(row["day"], []).append(row["digest"])
    return {day: hashing.hash_lines(sorted(file_digests)) for day, file_digests in digests_by_day.items()}
