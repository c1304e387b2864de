"""Choose the videos of a feed: mostly popular and new ones, a few that suit the user, some at random."""

import numpy as np

POPULARITY_WEIGHT = 0.35  # of the logarithm of the views so far
FRESHNESS_WEIGHT = 1.2  # of a new video; its half-life is about 1.5 days
AFFINITY_WEIGHT = 0.7  # of the user's affinity with noise
AFFINITY_NOISE = 1.0
SEEN_PENALTY = -2.5
EXPLORATION_RATE = 0.1  # share of the feed filled at random


def choose_videos(
    random: np.random.Generator,
    feed_length: int,
    *,
    age_days: np.ndarray,
    view_counts: np.ndarray,
    affinity: np.ndarray,
    seen: np.ndarray,
) -> np.ndarray:
    """Choose the videos of one session.

    Args:
        feed_length: the largest number of videos.
        age_days: [V] days since upload, negative before it.
        view_counts: [V] views so far.
        affinity: [V] the user's true affinity.
        seen: [V] whether the user was shown the video before.

    Returns:
        at most `feed_length` rows of videos in the order shown, each once.
    """
    available = np.flatnonzero(age_days >= 0)
    noisy_affinity = affinity + random.normal(scale=AFFINITY_NOISE, size=affinity.shape)
    score = (
        POPULARITY_WEIGHT * np.log1p(view_counts)
        + FRESHNESS_WEIGHT * np.exp(-np.maximum(age_days, 0) / 2)
        + AFFINITY_WEIGHT * noisy_affinity
        + SEEN_PENALTY * seen
        + random.gumbel(size=affinity.shape)
    )
    ranked = available[np.argsort(-score[available], kind="stable")]
    feed, rest = ranked[:feed_length], ranked[feed_length:]
    explored_positions = np.flatnonzero(random.random(len(feed)) < EXPLORATION_RATE)[: len(rest)]
    feed[explored_positions] = random.permutation(rest)[: len(explored_positions)]
    return feed
