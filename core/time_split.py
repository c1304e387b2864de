"""The time split of a night: training days, then one or more validation days, then the test day.

A *fold* is one of the days whose positives are predicted. Everything before it is known. Fold `valid_1` is
the first validation day, so what it knows is the training data. Fold `test` is the day of the night.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

TEST_FOLD = "test"


@dataclass(frozen=True)
class TimeSplit:
    """The days of a time split.

    Attributes:
        validation_days: the validation days, oldest first.
        test_day: the test day, which is the day of the night.
    """

    validation_days: tuple[date, ...]
    test_day: date

    @property
    def train_end(self) -> date:
        """The last training day."""
        return self.validation_days[0] - timedelta(1)

    @property
    def folds(self) -> Mapping[str, date]:
        """Name -> day of each fold, oldest first."""
        validation = {f"valid_{i}": day for i, day in enumerate(self.validation_days, 1)}
        return {**validation, TEST_FOLD: self.test_day}

    @property
    def known_until(self) -> Mapping[str, date]:
        """Name of each fold -> the last day that is known when it begins."""
        return {fold: day - timedelta(1) for fold, day in self.folds.items()}

    def to_json(self) -> dict[str, str]:
        """Return the folds as text, for a run manifest."""
        return {fold: str(day) for fold, day in self.folds.items()}

    @classmethod
    def from_json(cls, days: Mapping[str, str]) -> "TimeSplit":
        """Return the time split that `to_json` wrote."""
        validation = sorted(date.fromisoformat(day) for fold, day in days.items() if fold != TEST_FOLD)
        return cls(tuple(validation), date.fromisoformat(days[TEST_FOLD]))


def split_by_time(
    night: date, hidden_days: Collection[date], num_validation_days: int, first_day: date | None = None
) -> TimeSplit:
    """Split the days of a night by time.

    The validation days are the newest days before the night that are not hidden. There is always one. Further
    ones need a visible training day before them.

    Args:
        night: the day of the night.
        hidden_days: days that the night must not see.
        num_validation_days: how many validation days to take.
        first_day: the first day with data. None: days before the night are not limited.
    """
    validation_days: list[date] = []
    day = night - timedelta(1)
    while len(validation_days) < num_validation_days:
        while day in hidden_days:
            day -= timedelta(1)
        if validation_days and first_day is not None and day <= first_day:
            break
        validation_days.insert(0, day)
        day -= timedelta(1)
    return TimeSplit(tuple(validation_days), night)
