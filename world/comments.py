"""What people write under videos, and whether they mean it well."""

import numpy as np

from world.topics import TOPICS

GOOD = (
    "love this {word}, more please",
    "so good, best {word} ever!",
    "this {word} made my day, thank you",
    "amazing, I watched it three times",
    "great {word}, really beautiful",
)
BAD = (
    "boring {word}, what a waste of time",
    "worst {word} I have seen",
    "awful, I hate this",
    "so annoying, stop showing me {word}",
    "bad {word}, disappointing",
)


def write(random: np.random.Generator, topic: int, sentiment: int) -> str:
    """A comment on a topic; sentiment 1 is a friendly one, −1 an unfriendly one."""
    phrase = str(random.choice(GOOD if sentiment > 0 else BAD))
    return phrase.format(word=random.choice(TOPICS[topic].words))
