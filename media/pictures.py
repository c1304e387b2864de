"""Evenly spaced pictures of each segment, picked while the frames stream by."""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from media.clip import Fit, Sampling, Unreadable

# Pictures looked at per picture kept, so that a last segment of any length is sampled evenly
# although nobody knows beforehand where it ends (durations in headers lie or are absent).
CANDIDATES = 4
# Beyond this ratio of the sides a picture is distorted: one pixel row must not become gigabytes.
MAX_RATIO = 8
HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)  # PQ and HLG
SCALER = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
SEES_THROUGH = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # libav's own decoders leave transparency out


def video_decoder(stream: VideoStream, max_pixels: int | None) -> VideoCodecContext:
    """What decodes the stream, on one thread: the worker processes are the parallelism.

    Raises:
        Unreadable: the header tells of more than `max_pixels`; pictures that grow later are refused by libav.
    """
    decoder = stream.codec_context
    if max_pixels and decoder.width * decoder.height > max_pixels:
        size = f"{decoder.width} × {decoder.height}"
        raise Unreadable("too_many_pixels", f"{size}; embed.max_megapixels is {max_pixels / 1e6:g}")
    if stream.metadata.get("alpha_mode") == "1" and decoder.name in SEES_THROUGH:
        decoder = CodecContext.create(SEES_THROUGH[decoder.name], "r")
    decoder.thread_count = 1
    if max_pixels:
        decoder.options = {"max_pixels": str(max_pixels)}
    return decoder


class Pictures:
    """Takes a stream's frames in order of time; keeps what is shown at fixed moments, small.

    The frames of the segment at hand wait in full size until its end tells which of them are wanted.
    """

    def __init__(
        self, stream: VideoStream, decoder: VideoCodecContext, sampling: Sampling, size: int, origin: float
    ) -> None:
        self.stream, self.decoder = stream, decoder
        self._sampling, self._size, self._origin = sampling, size, origin
        self._per_segment = sampling.frames_per_segment * CANDIDATES
        self._step = sampling.segment_seconds / self._per_segment
        self._slots = self._per_segment * sampling.max_segments
        self._slot = 0
        self._shown: VideoFrame | None = None
        self._time = 0.0
        self._candidates: list[VideoFrame] = []
        self._kept: list[tuple[int, np.ndarray]] = []  # (segment, picture)
        self._scaler = VideoReformatter()

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
        self._shown, self._time = frame, time

    def flush(self) -> None:
        """There is no next frame: the last one is shown to its end."""
        while self._shown is not None and not self.full and self._slot * self._step <= self._time:
            self._take()
        nothing = not self._kept and not self._candidates
        if self._shown is not None and nothing and self._time < self._slots * self._step:
            self._slot = max(0, int(self._time / self._step))
            self._take()
        self._keep()

    def segments(self) -> dict[int, np.ndarray]:
        """Segment -> [n, size, size, 3] uint8, n ≤ frames_per_segment, evenly spaced."""
        kept: dict[int, list[np.ndarray]] = {}
        for segment, small in evenly(self._kept, self._sampling.frames_per_video):
            kept.setdefault(segment, []).append(small)
        return {segment: np.stack(pictures) for segment, pictures in kept.items()}

    def _time_of(self, frame: VideoFrame) -> float:
        """Seconds since the start of the file; frames without a time stamp follow at the stream's rate."""
        if frame.pts is not None and frame.time is not None:
            return frame.time - self._origin
        rate = float(self.stream.average_rate or 25)
        return self._time + 1 / rate if self.started else 0.0

    def _take(self) -> None:
        assert self._shown is not None
        self._candidates.append(self._shown)
        self._slot += 1
        if self._slot % self._per_segment == 0:
            self._keep()

    def _keep(self) -> None:
        """The segment has ended: of its candidates those wanted become pictures."""
        wanted = evenly(self._candidates, self._sampling.frames_per_segment)
        self._candidates = []
        segment = (self._slot - 1) // self._per_segment
        for n, frame in enumerate(wanted):
            again = n > 0 and frame is wanted[n - 1]
            self._kept.append((segment, self._kept[-1][1] if again else self._small(frame)))

    def _small(self, frame: VideoFrame) -> np.ndarray:
        pixel = self.stream.sample_aspect_ratio
        return picture(frame, self._size, self._sampling.image_fit, float(pixel or 1), self._scaler)


def evenly(things: Sequence[Any], wanted: float) -> list[Any]:
    """At most `wanted` of the things, each from the middle of an equal share of them."""
    count = int(min(wanted, len(things)))
    return [things[int((j + 0.5) * len(things) / count)] for j in range(count)]


def picture(
    frame: VideoFrame, size: int, fit: Fit, pixel_ratio: float, scaler: VideoReformatter
) -> np.ndarray:
    """A frame as upright RGB [size, size, 3] uint8; what is transparent shows black, as in a feed.

    Args:
        pixel_ratio: the width of a pixel over its height.
        scaler: is quick for frames like the one before.
    """
    width, height = _target(frame.width * pixel_ratio, frame.height, size, fit)
    hdr, alpha = frame.color_trc in HDR, _has_alpha(frame.format)
    pixels = "rgb48le" if hdr else "rgba" if alpha else "rgb24"
    small = scaler.reformat(frame, width, height, pixels, interpolation=SCALER, threads=1)
    if hdr:
        small.color_trc, small.color_primaries = frame.color_trc, frame.color_primaries
        small = _plain(frame.color_trc, width, height).reformat(
            small, format="rgb24", dst_color_trc=ColorTrc.BT709, dst_color_primaries=ColorPrimaries.BT709
        )
    top, left = (height - size) // 2, (width - size) // 2
    square = small.to_ndarray()[top : top + size, left : left + size]
    if square.shape[2] == 4:
        square = _on_black(square)
    return np.ascontiguousarray(np.rot90(square, round(frame.rotation / 90)))


def _has_alpha(pixels: VideoFormat) -> bool:
    return pixels.has_palette or any(component.is_alpha for component in pixels.components)


def _on_black(rgba: np.ndarray) -> np.ndarray:
    shade = rgba[..., :3].astype(np.uint16) * rgba[..., 3:]
    return ((shade + 127) // 255).astype(np.uint8)


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
