"""The users of the mechanism `topics`: preferences for the twelve topics, and modality weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.tables import MODALITIES
from simulator.calendar import Calendar
from simulator.seeds import make_rng
from simulator.topics import TOPICS
from simulator.users import (
    AGE_BANDS,
    PROFILE_VALUES,
    SimulatedUser,
    draw_habits,
    draw_profile,
    draw_registration_time,
    make_user_id,
    softmax,
)

# Weight of each profile column in the initial preference.
GROUP_PREFERENCE_WEIGHTS = {"age_band": 1.0, "city_tier": 0.7, "device": 0.5}
INDIVIDUAL_PREFERENCE_WEIGHT = 0.7
INDIVIDUAL_DRIFT_RATE = 0.1  # share of the users whose taste changes on a random day
NUM_TRENDING_TOPICS = 2  # topics that an age band starts to like on the day of the trend


@dataclass(frozen=True, kw_only=True)
class TopicUser(SimulatedUser):
    """A user with a preference for each topic.

    Attributes:
        initial_preference: [12] standardised preference for each topic before `drift_day`.
        drifted_preference: [12] the preference from `drift_day` on.
        drift_day: day of the change, None if there is none.
    """

    initial_preference: np.ndarray
    drifted_preference: np.ndarray
    drift_day: int | None

    def preference_on(self, day: int) -> np.ndarray:
        """Return the preference for each topic on a day, [12]."""
        drifted = self.drift_day is not None and day >= self.drift_day
        return self.drifted_preference if drifted else self.initial_preference


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


def make_users(seed: int, calendar: Calendar, group_preferences: GroupPreferences) -> list[TopicUser]:
    """Return all users in order of arrival."""
    arrivals = calendar.arrival_days(calendar.params.users, calendar.params.new_users_per_day)
    return [
        _make_user(seed, number, arrival_day, calendar, group_preferences)
        for number, arrival_day in enumerate(arrivals)
    ]


def _make_user(
    seed: int, number: int, arrival_day: int, calendar: Calendar, group_preferences: GroupPreferences
) -> TopicUser:
    random = make_rng(seed, "person", number)
    profile = draw_profile(random)
    initial, drifted, drift_day = _draw_preferences(random, profile, arrival_day, calendar, group_preferences)
    return TopicUser(
        user_id=make_user_id(number),
        profile=profile,
        registration_time=draw_registration_time(random, arrival_day, calendar),
        arrival_day=arrival_day,
        initial_preference=initial,
        drifted_preference=drifted,
        drift_day=drift_day,
        modality_weights=softmax(
            group_preferences.modality_logits[profile["age_band"]]
            + random.normal(scale=1.2, size=len(MODALITIES))
        ),
        **draw_habits(random),
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
    initial = standardise(
        np.sum(group_terms, axis=0) + INDIVIDUAL_PREFERENCE_WEIGHT * random.normal(size=len(TOPICS))
    )
    after_trend = initial.copy()
    after_trend[list(group_preferences.trending_topics[profile["age_band"]])] += 3.0
    follows_trend = random.random() < calendar.params.drift_share
    drifts_individually = random.random() < INDIVIDUAL_DRIFT_RATE
    individual_drift_day = int(random.integers(1, max(calendar.num_days, 2)))
    individual_preference = random.permutation(initial)
    if follows_trend and arrival_day >= calendar.trend_day:  # joined after the trend
        return standardise(after_trend), standardise(after_trend), None
    if follows_trend:
        return initial, standardise(after_trend), calendar.trend_day
    if drifts_individually and individual_drift_day > arrival_day:
        return initial, individual_preference, individual_drift_day
    return initial, initial, None


def standardise(values: np.ndarray) -> np.ndarray:
    """Return the values with mean 0 and standard deviation 1."""
    return (values - values.mean()) / values.std()


def affinity(
    user: TopicUser, day: int, daypart_effect: np.ndarray, topics: Sequence | np.ndarray
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
