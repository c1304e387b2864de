"""The days of a simulation, and the day on which each user and video arrives."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from core.config import SimulatorConfig
from core.errors import InputError
from core.paths import parse_day


@dataclass(frozen=True)
class Calendar:
    """The days of a simulation, counted from 0: first the history, then the nights."""

    params: SimulatorConfig
    first_day: date

    @property
    def num_days(self) -> int:
        """Days of the history and the nights."""
        return self.params.history_days + self.params.nights

    @property
    def trend_day(self) -> int:
        """The day on which many users' tastes change at once.

        Two nights later a night trains on it. From then on an older champion is out of date, and a newly
        trained model is better.
        """
        return self.params.history_days + self.params.trend_night - 1

    @property
    def outage_day(self) -> int | None:
        """The day on which few users can reach the platform, None if there is none."""
        night = self.params.outage_night
        return self.params.history_days + night - 1 if night else None

    def date(self, day: int) -> date:
        """Return the date of a day."""
        return self.first_day + timedelta(day)

    def midnight(self, day: int) -> datetime:
        """Return the first moment of a day (UTC)."""
        return datetime.combine(self.date(day), datetime.min.time(), UTC)

    def arrival_days(self, total: int, new_per_day: int) -> list[int]:
        """Return the arrival day of each user or video.

        Args:
            total: how many exist at the end of the history.
            new_per_day: how many arrive on each day after day 0.

        Returns:
            days in order; those that exist from the start have 0.
        """
        initial = total - new_per_day * (self.params.history_days - 1)
        return [0] * initial + [day for day in range(1, self.num_days) for _ in range(new_per_day)]


def make_calendar(params: SimulatorConfig, file: str = "params.yaml") -> Calendar:
    """Check the simulator's parameters and make its calendar.

    Args:
        file: name of the parameter file, for error messages.

    Raises:
        InputError: a parameter is out of its range.
    """
    first_day = parse_day(params.first_day, f"{file}: simulator.first_day")
    _check_minimum(file, params, history_days=1, nights=0, new_users_per_day=0, new_videos_per_day=0, seed=0)
    growth_days = params.history_days - 1
    _check_minimum(
        file,
        params,
        users=params.new_users_per_day * growth_days + 1,
        videos=params.new_videos_per_day * growth_days + 1,
    )
    for name in ("drift_share", "outage_share"):
        value = getattr(params, name)
        if not 0 <= value <= 1:
            raise InputError(f"{file}: simulator.{name} is {value}; write a share between 0 and 1")
    if not 0 <= params.outage_night <= params.nights:
        raise InputError(
            f"{file}: simulator.outage_night is {params.outage_night}; "
            f"write a night from 1 to {params.nights} (simulator.nights), or 0 for none"
        )
    return Calendar(params, first_day)


def _check_minimum(file: str, params: SimulatorConfig, **minimums: int) -> None:
    for name, minimum in minimums.items():
        value = getattr(params, name)
        if value < minimum:
            raise InputError(f"{file}: simulator.{name} is {value}; write {minimum} or more")
