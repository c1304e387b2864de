"""The time split of a night: training days, then a validation day, then a test day."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True)
class TimeSplit:
    """The days of a time split.

    Attributes:
        train_end: the last training day.
        valid_day: the validation day.
        test_day: the test day, which is the day of the night.
    """

    train_end: date
    valid_day: date
    test_day: date

    @property
    def last_known_day(self) -> date:
        """The last day that is known when the test day begins."""
        return self.test_day - timedelta(1)


def split_by_time(night: date, hidden_days: Collection[date]) -> TimeSplit:
    """Split the days of a night by time.

    The validation day is the newest day before the night that is not hidden. Training ends one day earlier.
    """
    valid_day = night - timedelta(1)
    while valid_day in hidden_days:
        valid_day -= timedelta(1)
    return TimeSplit(valid_day - timedelta(1), valid_day, night)
