"""The settings, results and errors of decoding. This module imports no decoder, so its import is fast."""

from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np

ResizeMode = Literal["shortest", "squash", "longest"]


@dataclass(frozen=True)
class SamplingConfig:
    """How a video is sampled.

    Attributes:
        segment_seconds, max_segments: the grid of segments. The rest of the video is not decoded.
        frames_per_segment: frames of a segment, evenly spaced.
        image_size: side of the square images, in pixels. None: no images.
        resize_mode: `shortest` scales the shortest side and crops the centre. `squash` distorts the image.
            `longest` scales the longest side down to `image_size`, so the image is not square.
        sample_rate: rate of the audio samples, Hz. None: no audio.
        frames_per_video: most frames of a video. If more were sampled, evenly spaced ones are kept.
        still_size: longest side of the stills, in pixels. None: no stills.
        stills_per_video: most stills of a video, evenly spaced. A segment has at most one.
    """

    segment_seconds: float
    max_segments: int
    frames_per_segment: int
    image_size: int | None
    resize_mode: ResizeMode
    sample_rate: int | None
    frames_per_video: float = inf
    still_size: int | None = None
    stills_per_video: float = inf


@dataclass(frozen=True)
class DecodeLimits:
    """Limits of one media file. A file beyond them is refused.

    Attributes:
        timeout_seconds: time of decoding.
        max_memory_bytes: address space of the decoding process.
        max_file_bytes: size of the file.
        max_duration_seconds: duration by the file's header.
        max_pixels: pixels of a frame. None: no limit.
    """

    timeout_seconds: float
    max_memory_bytes: int
    max_file_bytes: float = inf
    max_duration_seconds: float = inf
    max_pixels: int | None = None


@dataclass(frozen=True)
class DecodedVideo:
    """The decoded content of a video, by segment. Segments without content are left out.

    Attributes:
        frames: segment -> RGB images [n, image_size, image_size, 3] uint8, n ≤ frames_per_segment.
        audio: segment -> mono samples in [-1, 1], float32, at most segment_seconds long.
        decode_errors: the errors that ended decoding early, as `video: …` or `audio: …`. The content before
            them is kept.
        stills: RGB images [height, width, 3] uint8 in order of time, with the aspect ratio of the video.
    """

    frames: dict[int, np.ndarray]
    audio: dict[int, np.ndarray]
    decode_errors: tuple[str, ...] = ()
    stills: tuple[np.ndarray, ...] = ()


class UnreadableMedia(Exception):  # noqa: N818 - an expected outcome, not an error
    """A media file cannot be used.

    Attributes:
        reason: the reason by which rejects are counted.
        detail: what is wrong, for the repair of the file.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class MediaStoreUnavailable(Exception):  # noqa: N818
    """The media store cannot be used (no credentials, no network). The file is not the cause.

    Attributes:
        may_recover: whether a retry may help, because the store does not answer.
    """

    def __init__(self, message: str, may_recover: bool = False) -> None:
        super().__init__(message, may_recover)
        self.may_recover = may_recover

    def __str__(self) -> str:
        return str(self.args[0])
