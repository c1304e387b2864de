"""The nights before a night, as the reference for its volume and its distributions.

Weekdays differ from weekends. So a night is compared with the recent nights of its own weekday, if there are
enough of them. Else it is compared with all recent nights.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

NUM_NIGHTS = 14
MIN_NIGHTS = 3  # with fewer nights, nothing is compared
MIN_SAME_WEEKDAY = 2


def reference_nights(night: date, earlier_nights: Iterable[date]) -> list[date]:
    """Return the nights with which a night is compared, oldest first. Empty if there are too few."""
    recent = sorted(day for day in earlier_nights if day < night)[-NUM_NIGHTS:]
    if len(recent) < MIN_NIGHTS:
        return []
    same_weekday = [day for day in recent if day.weekday() == night.weekday()]
    return same_weekday if len(same_weekday) >= MIN_SAME_WEEKDAY else recent


@dataclass(frozen=True)
class History:
    """The reference nights of a night.

    Attributes:
        events_by_day: reference night -> number of events received.
        files: table -> paths of the Parquet files of the reference nights.
    """

    events_by_day: Mapping[date, int]
    files: Mapping[str, Sequence[str]]

    def median_events(self) -> float | None:
        """Return the median number of events of a reference night, or None if there are none."""
        return statistics.median(self.events_by_day.values()) if self.events_by_day else None

    def mean_shares(self, table: str, value: str) -> dict[str, float] | None:
        """Return the mean distribution of a column over the reference nights.

        Args:
            table: a table of `files`.
            value: the column, or an SQL expression of a text.

        Returns:
            value -> mean share of the night's rows, sorted by value. Rows without a value do not count. None
            if there are no such rows.
        """
        if not self.files.get(table):
            return None
        counts = _count_values(self.files[table], value)
        totals: defaultdict[date, int] = defaultdict(int)
        for day, _, count in counts:
            totals[day] += count
        shares: defaultdict[str, float] = defaultdict(float)
        for day, name, count in counts:
            shares[name] += count / totals[day] / len(totals)
        return dict(sorted(shares.items())) or None


def _count_values(files: Sequence[str], value: str) -> list[tuple[date, str, int]]:
    """Count the rows of each day and value. Only the columns of the query are read, in bounded memory."""
    query = f"SELECT day, {value} AS value, COUNT(*) AS n FROM rows WHERE {value} IS NOT NULL GROUP BY 1, 2"
    counts = pl.SQLContext(rows=pl.scan_parquet(list(files)), eager=False).execute(query)
    return sorted(counts.collect(engine="streaming").rows())
