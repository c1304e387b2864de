"""Independent random streams, so that changing one part of the world leaves the others as they were."""

from zlib import crc32

import numpy as np


def rng(seed: int, *names: str | int) -> np.random.Generator:
    """The random stream of one named thing, the same on every run."""
    keys = [name if isinstance(name, int) else crc32(name.encode()) for name in names]
    return np.random.default_rng([seed, *keys])
