"""Write comments of known sentiment."""

import numpy as np

from simulator.topics import TOPICS

POSITIVE_TEMPLATES = (
    "love this {word}, more please",
    "so good, best {word} ever!",
    "this {word} made my day, thank you",
    "amazing, I watched it three times",
    "great {word}, really beautiful",
)
NEGATIVE_TEMPLATES = (
    "boring {word}, what a waste of time",
    "worst {word} I have seen",
    "awful, I hate this",
    "so annoying, stop showing me {word}",
    "bad {word}, disappointing",
)


def write_comment(random: np.random.Generator, topic: int, sentiment: int) -> str:
    """Return a comment on a topic.

    Args:
        topic: index in TOPICS.
        sentiment: 1 for a friendly comment, −1 for an unfriendly one.
    """
    template = str(random.choice(POSITIVE_TEMPLATES if sentiment > 0 else NEGATIVE_TEMPLATES))
    return template.format(word=random.choice(TOPICS[topic].words))
