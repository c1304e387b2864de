"""The users of the mechanism `sessions`: a sparse taste that drifts, followed creators, modality weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.tables import MODALITIES
from simulator.calendar import Calendar
from simulator.mechanisms.latent_videos import NUM_THEMES, LatentVideo, theme_popularity
from simulator.seeds import make_rng
from simulator.users import (
    PROFILE_VALUES,
    SimulatedUser,
    draw_habits,
    draw_profile,
    draw_registration_time,
    make_user_id,
    softmax,
)

TASTE_LENGTH = 3.2  # of the vector of a user's taste
LIKED_THEMES, DISLIKED_THEMES = (3, 8), (3, 7)  # how many; the upper end is excluded
GROUP_TASTE_SCALE = 0.12  # the profile says little about the taste
DRIFT_DEGREES = 3.0  # median angle by which a taste turns in a day
FAST_DRIFT_RATE = 0.25  # share of the users whose taste turns faster
FAST_DRIFT_FACTOR = 4.0
ABRUPT_DRIFT_RATE = 0.15  # share of the users whose taste also changes at once, each on a day of its own
MEAN_FOLLOWED = 2.5
FOLLOW_TASTE_WEIGHT = 1.0  # users mostly follow creators whose videos they like


@dataclass(frozen=True, kw_only=True)
class LatentUser(SimulatedUser):
    """A user with a taste in the latent space.

    Attributes:
        taste_YK: the taste on each day.
        drift_degrees: the mean angle by which it turns in a day.
        drift_day: day of an abrupt change, None if there is none.
        followed_creators: creators followed from the start.
        expressiveness: what the user adds to the log-odds of a like, share, follow or dislike.
        patience: what the user adds to the logarithm of the watch time.
    """

    taste_YK: np.ndarray
    drift_degrees: float
    drift_day: int | None
    followed_creators: tuple[int, ...]
    expressiveness: float
    patience: float


def make_latent_users(calendar: Calendar, videos: Sequence[LatentVideo]) -> list[LatentUser]:
    """Return all users in order of arrival."""
    random = make_rng(calendar.params.seed, "latent-groups")
    group_tastes = {
        (column, value): random.normal(scale=GROUP_TASTE_SCALE, size=NUM_THEMES)
        for column, values in PROFILE_VALUES.items()
        for value in values
    }
    arrivals = calendar.arrival_days(calendar.params.users, calendar.params.new_users_per_day)
    content_CK = _creator_content(videos)
    return [
        _make_user(calendar, number, arrival_day, group_tastes, content_CK)
        for number, arrival_day in enumerate(arrivals)
    ]


def _creator_content(videos: Sequence[LatentVideo]) -> np.ndarray:
    """Return the mean content of each creator, [C, 24]."""
    content_CK = np.zeros((1 + max(video.creator for video in videos), NUM_THEMES))
    for video in videos:
        content_CK[video.creator] += video.content_MK.mean(0)
    return content_CK / np.maximum(np.linalg.norm(content_CK, axis=1, keepdims=True), 1e-9)


def _make_user(
    calendar: Calendar,
    number: int,
    arrival_day: int,
    group_tastes: dict[tuple[str, str], np.ndarray],
    content_CK: np.ndarray,
) -> LatentUser:
    random = make_rng(calendar.params.seed, "latent-user", number)
    profile = draw_profile(random)
    group_taste = np.sum([group_tastes[column_value] for column_value in profile.items()], axis=0)
    initial_K = _draw_taste(random) + group_taste
    drift_degrees = float(random.lognormal(np.log(DRIFT_DEGREES), 0.5))
    if random.random() < FAST_DRIFT_RATE:
        drift_degrees *= FAST_DRIFT_FACTOR
    drift_day = _draw_drift_day(random, arrival_day, calendar.num_days)
    return LatentUser(
        user_id=make_user_id(number),
        profile=profile,
        registration_time=draw_registration_time(random, arrival_day, calendar),
        arrival_day=arrival_day,
        modality_weights=random.dirichlet(np.full(len(MODALITIES), 1.5)),
        taste_YK=_draw_taste_path(random, initial_K, drift_degrees, drift_day, calendar.num_days),
        drift_degrees=drift_degrees,
        drift_day=drift_day,
        followed_creators=_draw_followed(random, content_CK @ initial_K),
        expressiveness=float(random.normal(-0.3, 1.0)),
        patience=float(random.normal(scale=0.25)),
        **draw_habits(random),
    )


def _draw_taste(random: np.random.Generator) -> np.ndarray:
    """Draw a taste: a few themes are liked, a few disliked, and the rest hardly matters."""
    taste_K = random.normal(-0.1, 0.1, size=NUM_THEMES)
    themes = random.choice(NUM_THEMES, size=NUM_THEMES, replace=False, p=theme_popularity())
    liked = themes[: random.integers(*LIKED_THEMES)]
    disliked = random.permutation(themes[len(liked) :])[: random.integers(*DISLIKED_THEMES)]
    taste_K[liked] += random.gamma(3, 0.4, size=len(liked))
    taste_K[disliked] -= random.gamma(2, 0.3, size=len(disliked))
    return TASTE_LENGTH * taste_K / np.linalg.norm(taste_K)


def _draw_drift_day(random: np.random.Generator, arrival_day: int, num_days: int) -> int | None:
    changes, day = random.random() < ABRUPT_DRIFT_RATE, int(random.integers(1, max(num_days, 2)))
    return day if changes and arrival_day < day < num_days else None


def _draw_taste_path(
    random: np.random.Generator, initial_K: np.ndarray, drift_degrees: float, drift_day: int | None, days: int
) -> np.ndarray:
    """Draw the taste on each day: small random turns, and a new taste on the day of an abrupt change."""
    taste_YK = np.empty((days, NUM_THEMES))
    taste_YK[0] = TASTE_LENGTH * initial_K / np.linalg.norm(initial_K)
    for day in range(1, days):
        taste_YK[day] = (
            _draw_taste(random)
            if day == drift_day
            else _turn(random, taste_YK[day - 1], drift_degrees * random.uniform(0.5, 1.5))
        )
    return taste_YK


def _turn(random: np.random.Generator, taste_K: np.ndarray, degrees: float) -> np.ndarray:
    """Turn a taste by an angle in a random direction. Its length stays."""
    direction_K = random.normal(size=NUM_THEMES)
    direction_K -= (direction_K @ taste_K) / (taste_K @ taste_K) * taste_K
    direction_K *= np.linalg.norm(taste_K) / np.linalg.norm(direction_K)
    angle = np.radians(degrees)
    return np.cos(angle) * taste_K + np.sin(angle) * direction_K


def _draw_followed(random: np.random.Generator, taste_C: np.ndarray) -> tuple[int, ...]:
    """Draw the creators that a user follows from the start.

    Args:
        taste_C: the user's taste for the content of each creator.
    """
    count = min(int(random.poisson(MEAN_FOLLOWED)), len(taste_C))
    chosen = random.choice(len(taste_C), size=count, replace=False, p=softmax(FOLLOW_TASTE_WEIGHT * taste_C))
    return tuple(sorted(int(creator) for creator in chosen))
