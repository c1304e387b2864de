"""Which nights the data checks have blocked: no later night sees their rows until they pass."""

from datetime import date

import pyarrow as pa

from contracts.lake import Lake
from contracts.tables import AUDITS

BLOCKED = "blocked"


def note(day: date, outcome: str) -> None:
    """Keep what the checks said of a night, in place of what they said of it before."""
    row = pa.Table.from_pylist([{"day": day, "outcome": outcome}], AUDITS.schema)
    Lake().write("audits", row, [{"day": day}])


def lake_of(night: date) -> Lake:
    """The lake as a night may see it: without what the nights before it brought that are blocked."""
    rows = Lake().scan("audits", f"outcome = '{BLOCKED}'", ("day",)).to_pylist()
    return Lake(without={row["day"] for row in rows if row["day"] < night})
