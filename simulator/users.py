"""Make the users: their profiles, preferences, modality weights and habits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from simulator.calendar import Calendar
from simulator.catalogue import MODALITIES
from simulator.seeds import make_rng
from simulator.topics import TOPICS

AGE_BANDS = ("13-17", "18-24", "25-34", "35-49", "50+")
CITY_TIERS = ("1", "2", "3", "4")
DEVICES = ("android", "ios", "tablet")
PROFILE_VALUES = {"age_band": AGE_BANDS, "city_tier": CITY_TIERS, "device": DEVICES}
# Weight of each profile column in the initial preference.
GROUP_PREFERENCE_WEIGHTS = {"age_band": 1.0, "city_tier": 0.7, "device": 0.5}
INDIVIDUAL_PREFERENCE_WEIGHT = 0.7
INDIVIDUAL_DRIFT_RATE = 0.1  # share of the users whose taste changes on a random day
NUM_TRENDING_TOPICS = 2  # topics that an age band starts to like on the day of the trend
UTC_OFFSETS = (0, 60, 120, 480)
PEAK_HOURS = (8.0, 13.0, 21.0)  # local time


@dataclass(frozen=True)
class SimulatedUser:
    """A user and the user's ground truth. The platform knows only `to_record`.

    Attributes:
        initial_preference: [12] standardised preference for each topic before `drift_day`.
        drifted_preference: [12] the preference from `drift_day` on.
        drift_day: day of the change, None if there is none.
        modality_weights: [3] weight of each of MODALITIES; they sum to 1.
        visit_probability: probability to come on a day.
        mean_sessions: mean number of sessions on such a day.
        peak_hour: local hour around which the sessions start.
    """

    user_id: str
    profile: dict[str, str]
    registration_time: datetime
    arrival_day: int
    initial_preference: np.ndarray
    drifted_preference: np.ndarray
    drift_day: int | None
    modality_weights: np.ndarray
    visit_probability: float
    mean_sessions: float
    peak_hour: float
    utc_offset_minutes: int

    def preference_on(self, day: int) -> np.ndarray:
        """Return the preference for each topic on a day, [12]."""
        drifted = self.drift_day is not None and day >= self.drift_day
        return self.drifted_preference if drifted else self.initial_preference

    def to_record(self) -> dict[str, object]:
        """Return the user's row in the landing file."""
        return {"user_id": self.user_id, "registration_time": self.registration_time, **self.profile}


@dataclass(frozen=True)
class GroupPreferences:
    """What the users of a user segment have in common.

    Attributes:
        by_segment: profile column -> value -> [12] preference for each topic.
        trending_topics: age band -> topics that it likes more from the day of the trend on.
        modality_logits: age band -> [3] logits of the modality weights.
    """

    by_segment: dict[str, dict[str, np.ndarray]]
    trending_topics: dict[str, tuple[int, ...]]
    modality_logits: dict[str, np.ndarray]


def make_group_preferences(seed: int) -> GroupPreferences:
    """Draw the group preferences of a simulation."""
    random = make_rng(seed, "culture")
    by_segment = {
        column: {value: random.normal(size=len(TOPICS)) for value in values}
        for column, values in PROFILE_VALUES.items()
    }
    # The trend raises the topics that the age band liked least.
    trending_topics = {
        age: tuple(int(topic) for topic in np.argsort(by_segment["age_band"][age])[:NUM_TRENDING_TOPICS])
        for age in AGE_BANDS
    }
    modality_logits = {age: random.normal(scale=0.8, size=len(MODALITIES)) for age in AGE_BANDS}
    return GroupPreferences(by_segment, trending_topics, modality_logits)


def make_users(seed: int, calendar: Calendar, group_preferences: GroupPreferences) -> list[SimulatedUser]:
    """Return all users in order of arrival."""
    arrivals = calendar.arrival_days(calendar.params.users, calendar.params.new_users_per_day)
    return [
        _make_user(seed, number, arrival_day, calendar, group_preferences)
        for number, arrival_day in enumerate(arrivals)
    ]


def _make_user(
    seed: int, number: int, arrival_day: int, calendar: Calendar, group_preferences: GroupPreferences
) -> SimulatedUser:
    random = make_rng(seed, "person", number)
    profile = {
        "age_band": str(random.choice(AGE_BANDS, p=[0.14, 0.3, 0.28, 0.18, 0.1])),
        "city_tier": str(random.choice(CITY_TIERS)),
        "device": str(random.choice(DEVICES, p=[0.5, 0.35, 0.15])),
    }
    initial, drifted, drift_day = _draw_preferences(random, profile, arrival_day, calendar, group_preferences)
    return SimulatedUser(
        user_id=f"syn-u{number:05d}",
        profile=profile,
        registration_time=_registration_time(random, arrival_day, calendar),
        arrival_day=arrival_day,
        initial_preference=initial,
        drifted_preference=drifted,
        drift_day=drift_day,
        modality_weights=_softmax(
            group_preferences.modality_logits[profile["age_band"]]
            + random.normal(scale=1.2, size=len(MODALITIES))
        ),
        visit_probability=float(random.beta(6, 2.5)),
        mean_sessions=1 + float(random.exponential(0.6)),
        peak_hour=float(random.choice(PEAK_HOURS, p=[0.2, 0.25, 0.55])),
        utc_offset_minutes=int(random.choice(UTC_OFFSETS, p=[0.2, 0.2, 0.1, 0.5])),
    )


def _draw_preferences(
    random: np.random.Generator,
    profile: dict[str, str],
    arrival_day: int,
    calendar: Calendar,
    group_preferences: GroupPreferences,
) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Return the initial preference, the drifted preference and the drift day (None: no drift)."""
    group_terms = [
        GROUP_PREFERENCE_WEIGHTS[column] * group_preferences.by_segment[column][value]
        for column, value in profile.items()
    ]
    initial = _standardise(
        np.sum(group_terms, axis=0) + INDIVIDUAL_PREFERENCE_WEIGHT * random.normal(size=len(TOPICS))
    )
    after_trend = initial.copy()
    after_trend[list(group_preferences.trending_topics[profile["age_band"]])] += 3.0
    follows_trend = random.random() < calendar.params.drift_share
    drifts_individually = random.random() < INDIVIDUAL_DRIFT_RATE
    individual_drift_day = int(random.integers(1, max(calendar.num_days, 2)))
    individual_preference = random.permutation(initial)
    if follows_trend and arrival_day >= calendar.trend_day:  # joined after the trend
        return _standardise(after_trend), _standardise(after_trend), None
    if follows_trend:
        return initial, _standardise(after_trend), calendar.trend_day
    if drifts_individually and individual_drift_day > arrival_day:
        return initial, individual_preference, individual_drift_day
    return initial, initial, None


def _registration_time(random: np.random.Generator, arrival_day: int, calendar: Calendar) -> datetime:
    """Draw a time in the first half of the arrival day.

    Users who exist from the start registered up to 300 days earlier.
    """
    seconds = int(random.integers(12 * 3600)) - (
        int(random.integers(1, 301)) * 86_400 if arrival_day == 0 else 0
    )
    return calendar.midnight(arrival_day) + timedelta(seconds=seconds)


def _standardise(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def _softmax(values: np.ndarray) -> np.ndarray:
    exponents = np.exp(values - values.max())
    return exponents / exponents.sum()


def affinity(
    user: SimulatedUser, day: int, daypart_effect: np.ndarray, topics: Sequence | np.ndarray
) -> np.ndarray:
    """Return how much a user likes videos with these topics.

    Args:
        daypart_effect: [12] what the time of day adds to the preference for each topic.
        topics: [..., 3] indices of topics, in the order of MODALITIES.

    Returns:
        [...] preferences for the three topics, weighted by the user's modality weights.
    """
    preference = user.preference_on(day) + daypart_effect
    return preference[np.asarray(topics)] @ user.modality_weights
