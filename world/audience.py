"""The people: who they are, what they like, how much they see, hear and read, and when they come."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from world.calendar import Calendar
from world.catalogue import MODALITIES
from world.seeds import rng
from world.topics import TOPICS

AGE_BANDS = ("13-17", "18-24", "25-34", "35-49", "50+")
CITY_TIERS = ("1", "2", "3", "4")
DEVICES = ("android", "ios", "tablet")
PROFILES = {"age_band": AGE_BANDS, "city_tier": CITY_TIERS, "device": DEVICES}
PULL = {"age_band": 1.0, "city_tier": 0.7, "device": 0.5}  # of each profile column on the first taste
OWN_TASTE = 0.7
OWN_DRIFT = 0.1  # share of the people who drift on a day of their own
RISING = 2  # topics that rise in an age band on the day of the trend
UTC_OFFSETS = (0, 60, 120, 480)
PEAK_HOURS = (8.0, 13.0, 21.0)  # local


@dataclass(frozen=True)
class Person:
    """A person with everything that is true of them; `record` is what the platform knows.

    first_taste, later_taste: [12] liking of each topic, standardised; the later holds from `drift_day` on.
    weights: [3] how much they go by what they see, read and hear (MODALITIES); sums to 1.
    diligence: probability that they come on a day. sessions: mean number of visits on such a day.
    """

    user_id: str
    profile: dict[str, str]
    registered: datetime
    arrives: int
    first_taste: np.ndarray
    later_taste: np.ndarray
    drift_day: int | None
    weights: np.ndarray
    diligence: float
    sessions: float
    peak_hour: float
    utc_offset_minutes: int

    def taste(self, day: int) -> np.ndarray:
        """Liking of each topic on a day [12]."""
        drifted = self.drift_day is not None and day >= self.drift_day
        return self.later_taste if drifted else self.first_taste

    def record(self) -> dict[str, object]:
        """The row of the landing file."""
        return {"user_id": self.user_id, "registration_time": self.registered, **self.profile}


@dataclass(frozen=True)
class Culture:
    """What people of a kind have in common, each value [12] over topics.

    pull: profile column -> value -> taste. rising: age band -> topics that rise on the day of the trend.
    attention: age band -> [3], what such people tend to go by.
    """

    pull: dict[str, dict[str, np.ndarray]]
    rising: dict[str, tuple[int, ...]]
    attention: dict[str, np.ndarray]


def make_culture(seed: int) -> Culture:
    """The culture of a world."""
    random = rng(seed, "culture")
    pull = {
        column: {value: random.normal(size=len(TOPICS)) for value in values}
        for column, values in PROFILES.items()
    }
    # What rises in an age band is what it did not care for before.
    rising = {
        age: tuple(int(topic) for topic in np.argsort(pull["age_band"][age])[:RISING]) for age in AGE_BANDS
    }
    attention = {age: random.normal(scale=0.8, size=len(MODALITIES)) for age in AGE_BANDS}
    return Culture(pull, rising, attention)


def make_people(seed: int, days: Calendar, culture: Culture) -> list[Person]:
    """All people of the world in order of arrival."""
    arrivals = days.arrivals(days.params.users, days.params.new_users_per_day)
    return [_person(seed, number, arrives, days, culture) for number, arrives in enumerate(arrivals)]


def _person(seed: int, number: int, arrives: int, days: Calendar, culture: Culture) -> Person:
    random = rng(seed, "person", number)
    profile = {
        "age_band": str(random.choice(AGE_BANDS, p=[0.14, 0.3, 0.28, 0.18, 0.1])),
        "city_tier": str(random.choice(CITY_TIERS)),
        "device": str(random.choice(DEVICES, p=[0.5, 0.35, 0.15])),
    }
    first, later, drift_day = _tastes(random, profile, arrives, days, culture)
    return Person(
        user_id=f"syn-u{number:05d}",
        profile=profile,
        registered=_registration(random, arrives, days),
        arrives=arrives,
        first_taste=first,
        later_taste=later,
        drift_day=drift_day,
        weights=_softmax(
            culture.attention[profile["age_band"]] + random.normal(scale=1.2, size=len(MODALITIES))
        ),
        diligence=float(random.beta(6, 2.5)),
        sessions=1 + float(random.exponential(0.6)),
        peak_hour=float(random.choice(PEAK_HOURS, p=[0.2, 0.25, 0.55])),
        utc_offset_minutes=int(random.choice(UTC_OFFSETS, p=[0.2, 0.2, 0.1, 0.5])),
    )


def _tastes(
    random: np.random.Generator, profile: dict[str, str], arrives: int, days: Calendar, culture: Culture
) -> tuple[np.ndarray, np.ndarray, int | None]:
    """First taste, later taste, and the day of the change (None: never)."""
    pulls = [PULL[column] * culture.pull[column][value] for column, value in profile.items()]
    first = _standardised(np.sum(pulls, axis=0) + OWN_TASTE * random.normal(size=len(TOPICS)))
    trended = first.copy()
    trended[list(culture.rising[profile["age_band"]])] += 3.0
    follows, strays = random.random() < days.params.drift_share, random.random() < OWN_DRIFT
    own_day, own_taste = int(random.integers(1, max(days.days, 2))), random.permutation(first)
    if follows and arrives >= days.trend_day:  # came with the fashion
        return _standardised(trended), _standardised(trended), None
    if follows:
        return first, _standardised(trended), days.trend_day
    if strays and own_day > arrives:
        return first, own_taste, own_day
    return first, first, None


def _registration(random: np.random.Generator, arrives: int, days: Calendar) -> datetime:
    """In the first half of the day of arrival; up to 300 days earlier for those there from the start."""
    seconds = int(random.integers(12 * 3600)) - (int(random.integers(1, 301)) * 86_400 if arrives == 0 else 0)
    return days.midnight(arrives) + timedelta(seconds=seconds)


def _standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def _softmax(values: np.ndarray) -> np.ndarray:
    exponents = np.exp(values - values.max())
    return exponents / exponents.sum()


def interest(person: Person, day: int, mood: np.ndarray, topics: Sequence | np.ndarray) -> np.ndarray:
    """How much a person likes what they see, read and hear.

    Args:
        mood: [12] what the time of day adds to each topic.
        topics: [..., 3] indices of the topics seen, read and heard.

    Returns:
        [...] the liking of the three, weighed by the person's weights.
    """
    taste = person.taste(day) + mood
    return taste[np.asarray(topics)] @ person.weights
