"""Which days there are, and on which of them each person and each video arrives."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from contracts.errors import InputError
from contracts.params import World
from contracts.place import parse_day


@dataclass(frozen=True)
class Calendar:
    """The days of a world: the history, then the nights. Days are counted from 0."""

    params: World
    first: date

    @property
    def days(self) -> int:
        return self.params.history_days + self.params.nights

    @property
    def trend_day(self) -> int:
        """The day on which many tastes change at once; a night trains on it two nights later.

        Until then nobody can have learned it. From then on a champion that did not is out of date, and
        training again is worth it.
        """
        return self.params.history_days + self.params.trend_night - 1

    @property
    def outage_day(self) -> int | None:
        night = self.params.outage_night
        return self.params.history_days + night - 1 if night else None

    def date(self, day: int) -> date:
        return self.first + timedelta(day)

    def midnight(self, day: int) -> datetime:
        """The first moment of a day (UTC)."""
        return datetime.combine(self.date(day), datetime.min.time(), UTC)

    def arrivals(self, at_end_of_history: int, new_per_day: int) -> list[int]:
        """The day on which each person (or video) arrives; who is there from the start has 0."""
        present = at_end_of_history - new_per_day * (self.params.history_days - 1)
        return [0] * present + [day for day in range(1, self.days) for _ in range(new_per_day)]


def calendar(params: World, file: str = "params.yaml") -> Calendar:
    """The calendar of a world.

    Raises:
        InputError: a parameter with which no world can be made.
    """
    first = parse_day(params.first_day, f"{file}: world.first_day")
    _at_least(file, params, history_days=1, nights=0, new_users_per_day=0, new_videos_per_day=0, seed=0)
    grown = params.history_days - 1
    _at_least(
        file,
        params,
        users=params.new_users_per_day * grown + 1,
        videos=params.new_videos_per_day * grown + 1,
    )
    for name in ("drift_share", "outage_share"):
        value = getattr(params, name)
        if not 0 <= value <= 1:
            raise InputError(f"{file}: world.{name} is {value}; a share lies between 0 and 1")
    if not 0 <= params.outage_night <= params.nights:
        raise InputError(
            f"{file}: world.outage_night is {params.outage_night}; "
            f"write a night from 1 to {params.nights} (world.nights), or 0 for none"
        )
    return Calendar(params, first)


def _at_least(file: str, params: World, **least: int) -> None:
    for name, bound in least.items():
        value = getattr(params, name)
        if value < bound:
            raise InputError(f"{file}: world.{name} is {value}; it must be {bound} or more")
