"""Ranges of a key, such as the user, that divide rows into parts of bounded size.

A step that reads more rows than a process can hold reads one range after the other. The ranges follow the
order of the keys, so results that are sorted by key can be written one after the other, too.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThan, LessThanOrEqual


@dataclass(frozen=True)
class KeyRange:
    """Keys that follow each other.

    Attributes:
        column: the column of the keys, which are texts.
        after: the last key before the range. None: it has no lower bound.
        last: the last key of the range. None: it has no upper bound.
    """

    column: str
    after: str | None = None
    last: str | None = None

    def filter(self) -> BooleanExpression:
        """Return the Iceberg filter for the rows of the range."""
        lower, upper = AlwaysTrue(), AlwaysTrue()
        if self.after is not None:
            lower = GreaterThan(self.column, self.after)  # type: ignore[call-arg, arg-type, assignment]
        if self.last is not None:
            upper = LessThanOrEqual(self.column, self.last)  # type: ignore[call-arg, arg-type, assignment]
        return And(lower, upper)


def divide_keys(rows: pl.LazyFrame, column: str, max_rows: int) -> list[KeyRange]:
    """Divide all keys into ranges with at most `max_rows` rows. A key with more rows has a range of its own.

    The query runs in the streaming engine. In memory are the distinct keys and their counts.

    Args:
        rows: the rows that are counted.
        column: the column of the keys, without nulls.
        max_rows: the bound.

    Returns:
        The ranges in the order of their keys, at least one. Each possible key is in one of them.
    """
    counts = rows.group_by(column).len().sort(column).collect(engine="streaming")
    rows_up_to = counts["len"].cast(pl.Int64).cum_sum().to_numpy()
    cuts, start = [], 0
    while start < len(rows_up_to):
        rows_before = rows_up_to[start - 1] if start else 0
        start = max(int(np.searchsorted(rows_up_to, rows_before + max_rows, side="right")), start + 1)
        cuts.append(counts[column][start - 1])
    bounds = [None, *cuts[:-1], None]
    return [KeyRange(column, after, last) for after, last in pairwise(bounds)]
