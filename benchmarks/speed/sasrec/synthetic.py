"""Synthetic sequences with patterns to learn: topics, popularity and successors of items."""

import numpy as np

from benchmarks.speed.sasrec.contender import MAX_LENGTH, SequenceData

ITEMS_PER_TOPIC = 100
SUCCESSOR_PROBABILITY = 0.5  # probability that the next item is the planted successor
MEAN_TARGETS = 13  # mean number of targets of a user


def make_sequences(
    num_users: int, num_items: int, seed: int, mean_targets: float = MEAN_TARGETS
) -> SequenceData:
    """Make the sequences of users with two topics each.

    Within a topic the popularity of items follows Zipf's law, and each item has one successor.

    Args:
        mean_targets: mean number of targets of a user.
    """
    rng = np.random.default_rng(seed)
    topics = max(2, num_items // ITEMS_PER_TOPIC)
    size = num_items // topics
    popularity = 1.0 / np.arange(1, size + 1)
    popularity /= popularity.sum()
    successor = np.stack([rng.permutation(size) for _ in range(topics)])
    length_U = np.minimum(2 + rng.geometric(1 / (mean_targets - 0.5), num_users), MAX_LENGTH + 1)
    steps = length_U.max() + 1  # with the next item
    user_topics_U2 = rng.integers(topics, size=(num_users, 2))
    item_UT = np.empty((num_users, steps), np.int64)
    topic_U = user_topics_U2[:, 0]
    item_in_topic_U = rng.choice(size, num_users, p=popularity)
    for step in range(steps):
        item_UT[:, step] = topic_U * size + item_in_topic_U
        follows_U = rng.random(num_users) < SUCCESSOR_PROBABILITY
        other_U = user_topics_U2[np.arange(num_users), rng.integers(2, size=num_users)]
        item_in_topic_U = np.where(
            follows_U, successor[topic_U, item_in_topic_U], rng.choice(size, num_users, p=popularity)
        )
        topic_U = np.where(follows_U, topic_U, other_U)
    rows = np.arange(num_users)
    within_length_UT = np.arange(steps) < length_U[:, None]
    offsets = np.concatenate([[0], np.cumsum(length_U)])
    return SequenceData(offsets, item_UT[within_length_UT], item_UT[rows, length_U], topics * size)
