"""What decoding is asked for, what it gives, and how it says no. Light: no decoder is imported here."""

from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np

Fit = Literal["shortest", "squash"]


@dataclass(frozen=True)
class Sampling:
    """What is taken from a video.

    Attributes:
        segment_seconds, max_segments: the grid of segments; what lies beyond its end is not decoded.
        frames_per_segment: pictures per segment, evenly spaced.
        frames_per_video: of a video with more pictures than this, so many are kept, evenly spaced.
        image_size: side of the square pictures, in pixels; None: pictures are not wanted.
        image_fit: `shortest` scales the shortest side and cuts the centre out; `squash` distorts.
        sample_rate: of the sound, in Hz; None: sound is not wanted.
        synchrony: whether sound and motion are compared.
    """

    segment_seconds: float
    max_segments: int
    frames_per_segment: int
    image_size: int | None
    image_fit: Fit
    sample_rate: int | None
    synchrony: bool = False
    frames_per_video: float = inf


@dataclass(frozen=True)
class Limits:
    """What one file may be and may cost; one beyond is refused.

    Attributes:
        seconds: of decoding.
        memory_bytes: of address space of the process that decodes it.
        file_bytes: its size.
        playing_seconds: its duration, by its own header.
        pixels: of one picture.
    """

    seconds: float
    memory_bytes: int
    file_bytes: float = inf
    playing_seconds: float = inf
    pixels: int | None = None


SYNCHRONY_METHOD = "synchrony-1"  # another number whenever a video's figures would change


@dataclass(frozen=True)
class Synchrony:
    """How well the beats of the sound fit the motion of the pictures: correlations in [-1, 1].

    Attributes:
        together: as it plays. best: with the sound moved by `delay_ms`, which fits best.
        delay_ms: of the sound behind the picture; below 0: before it.
    """

    together: float
    best: float
    delay_ms: int


@dataclass(frozen=True)
class Clip:
    """What was decoded, by segment number. A segment without pictures (sound) is not in `frames` (`sound`).

    Attributes:
        frames: segment -> RGB pictures [n, image_size, image_size, 3] uint8, n ≤ frames_per_segment.
        sound: segment -> mono samples in [-1, 1], float32, at most segment_seconds long.
        synchrony: of sound and motion; None: unknown, or not wanted.
        broken: what ended decoding early, if something did, as `video: …` or `audio: …`; what came before
            counts.
    """

    frames: dict[int, np.ndarray]
    sound: dict[int, np.ndarray]
    synchrony: Synchrony | None = None
    broken: tuple[str, ...] = ()


class Unreadable(Exception):  # noqa: N818 - a counted outcome of a file
    """A media file that gives nothing, with the reason that is counted and a detail for whoever mends it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class StoreUnavailable(Exception):  # noqa: N818
    """The media store as a whole does not answer (no credentials, no network): no fault of the file."""
