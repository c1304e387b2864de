"""Time alternatives by turns, so that other load on the machine falls on all of them alike."""

import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def median_seconds(
    turns: Iterable[Mapping[Name, Callable[[], object]]], warm_up: bool = False
) -> dict[Name, float]:
    """Run the calls of each turn one after another, and return the median seconds of each name.

    Args:
        turns: Name -> call. The turns may have different calls of the same name.
        warm_up: Whether each call runs once more before it is timed, so that its arrays are in the cache.
    """
    seconds: dict[Name, list[float]] = {}
    for calls in turns:
        for name, call in calls.items():
            if warm_up:
                call()
            start = time.perf_counter()
            call()
            seconds.setdefault(name, []).append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}
