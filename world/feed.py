"""What a person is shown: mostly what is popular and new, a little of what suits them, some at random."""

import numpy as np

POPULARITY = 0.35  # weight of the logarithm of the views so far
FRESHNESS = 1.2  # weight of being new; fades with a half-life of about a day and a half
PERSONAL = 0.7  # weight of a noisy guess at the person's interest
GUESS_NOISE = 1.0
SEEN_BEFORE = -2.5
EXPLORED = 0.1  # share of the places filled at random


def choose(
    random: np.random.Generator,
    places: int,
    *,
    age_days: np.ndarray,
    views: np.ndarray,
    liking: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Videos for the places of one visit, in the order shown, without repetition.

    Args:
        age_days: [V] days since the upload; negative for videos that are not there yet.
        views: [V] views so far. liking: [V] the person's true interest. seen: [V] shown to them before.

    Returns:
        at most `places` indices of videos.
    """
    there = np.flatnonzero(age_days >= 0)
    guess = liking + random.normal(scale=GUESS_NOISE, size=liking.shape)
    score = (
        POPULARITY * np.log1p(views)
        + FRESHNESS * np.exp(-np.maximum(age_days, 0) / 2)
        + PERSONAL * guess
        + SEEN_BEFORE * seen
        + random.gumbel(size=liking.shape)
    )
    ranked = there[np.argsort(-score[there], kind="stable")]
    shown, rest = ranked[:places], ranked[places:]
    explored = np.flatnonzero(random.random(len(shown)) < EXPLORED)[: len(rest)]
    shown[explored] = random.permutation(rest)[: len(explored)]
    return shown
