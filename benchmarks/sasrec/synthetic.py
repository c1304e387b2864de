"""Sequences with something to learn in them: topics, popularity, and items that follow one another."""

import numpy as np

from benchmarks.sasrec.contender import LENGTH, Data

TOPIC_ITEMS = 100
FOLLOWS = 0.5  # chance that the next item is the planted successor of the one before
MEAN_TARGETS = 13  # of a person


def sequences(users: int, catalogue: int, seed: int, mean_targets: float = MEAN_TARGETS) -> Data:
    """Each person has two topics. Within a topic items follow Zipf's law, and each has one successor."""
    draw = np.random.default_rng(seed)
    topics = max(2, catalogue // TOPIC_ITEMS)
    size = catalogue // topics
    share = 1.0 / np.arange(1, size + 1)
    share /= share.sum()
    successor = np.stack([draw.permutation(size) for _ in range(topics)])
    length_U = np.minimum(2 + draw.geometric(1 / (mean_targets - 0.5), users), LENGTH + 1)
    steps = length_U.max() + 1  # and what comes next
    mine_U2 = draw.integers(topics, size=(users, 2))
    item_US = np.empty((users, steps), np.int64)
    topic_U = mine_U2[:, 0]
    place_U = draw.choice(size, users, p=share)
    for step in range(steps):
        item_US[:, step] = topic_U * size + place_U
        follows_U = draw.random(users) < FOLLOWS
        other_U = mine_U2[np.arange(users), draw.integers(2, size=users)]
        place_U = np.where(follows_U, successor[topic_U, place_U], draw.choice(size, users, p=share))
        topic_U = np.where(follows_U, topic_U, other_U)
    rows = np.arange(users)
    kept = np.arange(steps) < length_U[:, None]
    offsets = np.concatenate([[0], np.cumsum(length_U)])
    return Data(offsets, item_US[kept], item_US[rows, length_U], topics * size)
