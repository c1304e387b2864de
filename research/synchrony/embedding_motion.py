"""Motion by embeddings: how far the meaning of what is shown moves between groups of successive frames.

At each image the mean embedding of the images before it is compared with that of the image and those after.
A group of one image compares successive images. Larger groups keep what lasts, such as a cut or a new pose,
and average out what flickers.
"""

from collections.abc import Callable, Sequence

import numpy as np

from research.synchrony.measure import GRID_SECONDS, MotionForm

IMAGE_SECONDS = GRID_SECONDS / 2  # time between images
BATCH_IMAGES = 64
MIN_EMBEDDING_MOTION = 0.01  # of a unit sphere; coding alone moves the default's embeddings by less
# The log of `measure_synchrony` was made for grey levels. At this scale it bends as much for embeddings.
LEVELS = 100.0

Encode = Callable[[Sequence[np.ndarray]], np.ndarray]  # images -> unit vectors [B, D]


def embedding_form(encode: Encode, side: int, group: int) -> MotionForm:
    """Return the form of motion by embeddings.

    Args:
        encode: encodes RGB images [side, side, 3] uint8.
        side: the encoder's image size, in pixels.
        group: images on each side of a comparison. An image is taken every `IMAGE_SECONDS`.
    """

    def motion(rgb_NXX3: np.ndarray) -> np.ndarray:
        return LEVELS * group_changes(embed_images(encode, rgb_NXX3), group)

    return MotionForm(side, "rgb24", IMAGE_SECONDS, motion, LEVELS * MIN_EMBEDDING_MOTION)


def embed_images(encode: Encode, rgb_NXX3: np.ndarray) -> np.ndarray:
    """Return the unit vectors of images [N, D]."""
    starts = range(0, len(rgb_NXX3), BATCH_IMAGES)
    return np.concatenate([encode(list(rgb_NXX3[n : n + BATCH_IMAGES])) for n in starts])


def group_changes(vectors_ND: np.ndarray, group: int) -> np.ndarray:
    """Return the distance between the mean vector before each image and that from it on [N]. The first is 0.

    Args:
        vectors_ND: unit vectors of N images in order of time.
        group: images in each mean. Near the ends of the video there are fewer.
    """
    sums = np.concatenate([np.zeros((1, vectors_ND.shape[1])), np.cumsum(vectors_ND, axis=0, dtype=float)])
    number = np.arange(1, len(vectors_ND))
    first, last = np.maximum(number - group, 0), np.minimum(number + group, len(vectors_ND))
    before = (sums[number] - sums[first]) / (number - first)[:, None]
    after = (sums[last] - sums[number]) / (last - number)[:, None]
    return np.concatenate([[0.0], np.linalg.norm(after - before, axis=1)])[: len(vectors_ND)]
