"""Evenly spaced pictures of each segment, picked while the frames stream by."""

from functools import lru_cache
from math import ceil

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from media.clip import Fit, Sampling

# Pictures looked at per picture kept, so that a last segment of any length is sampled evenly
# although nobody knows beforehand where it ends (durations in headers lie or are absent).
CANDIDATES = 4
# Beyond this ratio of the sides a picture is distorted: one pixel row must not become gigabytes.
MAX_RATIO = 8
HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)  # PQ and HLG
SCALER = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT


class Pictures:
    """Takes a stream's frames in order of time; keeps what is shown at fixed moments, small."""

    def __init__(self, stream: VideoStream, sampling: Sampling, size: int, origin: float) -> None:
        self.stream, self._sampling, self._size, self._origin = stream, sampling, size, origin
        stream.codec_context.thread_count = 1  # the workers are the parallelism
        self._per_segment = sampling.frames_per_segment * CANDIDATES
        self._step = sampling.segment_seconds / self._per_segment
        self._slots = self._per_segment * sampling.max_segments
        self._slot = 0
        self._shown: VideoFrame | None = None
        self._picture: np.ndarray | None = None
        self._time = 0.0
        self._taken: dict[int, list[np.ndarray]] = {}

    @property
    def started(self) -> bool:
        return self._shown is not None

    @property
    def full(self) -> bool:
        return self._slot >= self._slots

    def feed(self, frame: VideoFrame) -> None:
        """The next frame: until now the one before it was shown."""
        time = self._time_of(frame)
        if self._shown is None:
            self._slot = max(0, ceil(time / self._step))
        while self._shown is not None and not self.full and self._slot * self._step < time:
            self._take()
        self._shown, self._picture, self._time = frame, None, time

    def flush(self) -> None:
        """There is no next frame: the last one is shown to its end."""
        while self._shown is not None and not self.full and self._slot * self._step <= self._time:
            self._take()
        if self._shown is not None and not self._taken and self._time < self._slots * self._step:
            self._slot = max(0, int(self._time / self._step))
            self._take()

    def segments(self) -> dict[int, np.ndarray]:
        """Segment -> [n, size, size, 3] uint8, n ≤ frames_per_segment, evenly spaced."""
        return {segment: np.stack(self._even(taken)) for segment, taken in self._taken.items()}

    def _time_of(self, frame: VideoFrame) -> float:
        """Seconds since the start of the file; frames without a time stamp follow at the stream's rate."""
        if frame.pts is not None and frame.time is not None:
            return frame.time - self._origin
        rate = float(self.stream.average_rate or 25)
        return self._time + 1 / rate if self.started else 0.0

    def _take(self) -> None:
        assert self._shown is not None
        if self._picture is None:
            pixel = self.stream.sample_aspect_ratio
            self._picture = picture(self._shown, self._size, self._sampling.image_fit, float(pixel or 1))
        self._taken.setdefault(self._slot // self._per_segment, []).append(self._picture)
        self._slot += 1

    def _even(self, taken: list[np.ndarray]) -> list[np.ndarray]:
        wanted = min(self._sampling.frames_per_segment, len(taken))
        return [taken[int((j + 0.5) * len(taken) / wanted)] for j in range(wanted)]


def picture(frame: VideoFrame, size: int, fit: Fit, pixel_ratio: float = 1.0) -> np.ndarray:
    """A frame as upright RGB [size, size, 3] uint8; `pixel_ratio` is the width of a pixel over its height."""
    width, height = _target(frame.width * pixel_ratio, frame.height, size, fit)
    hdr = frame.color_trc in HDR
    small = frame.reformat(width, height, "rgb48le" if hdr else "rgb24", interpolation=SCALER)
    if hdr:
        small.color_trc, small.color_primaries = frame.color_trc, frame.color_primaries
        small = _plain(frame.color_trc, width, height).reformat(
            small, format="rgb24", dst_color_trc=ColorTrc.BT709, dst_color_primaries=ColorPrimaries.BT709
        )
    top, left = (height - size) // 2, (width - size) // 2
    square = small.to_ndarray()[top : top + size, left : left + size]
    return np.ascontiguousarray(np.rot90(square, round(frame.rotation / 90)))


@lru_cache(maxsize=8)
def _plain(transfer: int, width: int, height: int) -> VideoReformatter:
    """What brings small HDR pictures to a plain screen's range, brighter clipped; costs seconds to set up."""
    return VideoReformatter()


def _target(width: float, height: float, size: int, fit: Fit) -> tuple[int, int]:
    if fit == "squash":
        return size, size
    scale = size / min(width, height)
    sides = (min(max(round(side * scale), size), MAX_RATIO * size) for side in (width, height))
    return next(sides), next(sides)
