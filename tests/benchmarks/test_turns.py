"""Alternatives are timed by turns."""

import time
from functools import partial

import pytest

from benchmarks.turns import median_seconds

Turn = dict[str, partial[None]]


class Clock:
    """A clock that calls move forward."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, list[str]()

    def call(self, name: str, seconds: float) -> None:
        """Take some seconds."""
        self.calls.append(name)
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.seconds)
    return clock


def _turns(clock: Clock) -> list[Turn]:
    return [{"a": partial(clock.call, "a", a), "b": partial(clock.call, "b", 1.0)} for a in (3.0, 9.0, 4.0)]


def test_the_median_of_the_turns_is_returned(clock: Clock) -> None:
    assert median_seconds(_turns(clock)) == {"a": 4.0, "b": 1.0}
    assert clock.calls == ["a", "b"] * 3


def test_a_warm_up_is_not_timed(clock: Clock) -> None:
    assert median_seconds(_turns(clock), warm_up=True) == {"a": 4.0, "b": 1.0}
    assert clock.calls == ["a", "a", "b", "b"] * 3
