"""Independent random streams. A change in one part of the simulation leaves the others unchanged."""

from zlib import crc32

import numpy as np


def make_rng(seed: int, *names: str | int) -> np.random.Generator:
    """Return the random generator of a seed and names. It is the same on every run.

    A changed name changes the simulated data. So old names such as "mood" and "dirt" stay.
    """
    keys = [name if isinstance(name, int) else crc32(name.encode()) for name in names]
    return np.random.default_rng([seed, *keys])
