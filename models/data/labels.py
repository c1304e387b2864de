"""The rules that turn interactions into labels, on Arrow columns. They do not need torch."""

from collections.abc import Mapping
from functools import reduce
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

POSITIVE_BEHAVIOURS = ("liked", "commented", "shared", "followed")
COMPLETE_WATCH_RATIO = 0.95  # from this watch ratio on, a video counts as watched to the end

Column: TypeAlias = "pa.Array | pa.ChunkedArray"


def is_positive(flags: Mapping[str, Column], watch_ratio: Column, positive_watch_ratio: float) -> Column:
    """Return whether each interaction is positive.

    A positive has a positive behaviour or was watched for long enough, and has no dislike.

    Args:
        flags: Behaviour -> whether the user did it. Needs `viewed`, `disliked` and `POSITIVE_BEHAVIOURS`.
        watch_ratio: Null if unknown. An interaction that was viewed then counts as watched for long enough.
        positive_watch_ratio: From this watch ratio on, the video was watched for long enough.
    """
    watched = pc.fill_null(pc.greater_equal(watch_ratio, positive_watch_ratio), True)
    engaged = [flags[name] for name in POSITIVE_BEHAVIOURS]
    return pc.and_not(reduce(pc.or_, [*engaged, pc.and_(flags["viewed"], watched)]), flags["disliked"])


def has_behaviour(bits: Column, position: int) -> Column:
    """Return whether the bit of a behaviour is set.

    Args:
        bits: Behaviours of each interaction as bits.
        position: Position of the behaviour among the logged behaviours.
    """
    return pc.not_equal(pc.bit_wise_and(bits, 1 << position), 0)


def is_complete(watch_ratio: Column) -> Column:
    """Return whether each video was watched to the end. Null if the watch ratio is unknown."""
    return pc.greater_equal(watch_ratio, COMPLETE_WATCH_RATIO)
