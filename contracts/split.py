"""How a night's days are split by time: training, then validation, then the test."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True)
class Split:
    """The last day of training, the day of validation, and the test day, which is the night's."""

    train: date
    valid: date
    test: date

    @property
    def known(self) -> date:
        """The last day that is known when the test day begins."""
        return self.test - timedelta(1)


def split_of(night: date, without: Collection[date]) -> Split:
    """Validation is the newest day before the night that may be seen; training ends the day before that."""
    valid = night - timedelta(1)
    while valid in without:
        valid -= timedelta(1)
    return Split(valid - timedelta(1), valid, night)
