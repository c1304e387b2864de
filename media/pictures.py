"""Evenly spaced pictures of each segment, picked while the frames stream by."""

from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import av
import numpy as np
from av.codec.context import CodecContext
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from media.clip import Fit, Sampling, Unreadable
from media.skipping import Skipping

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
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    if tags.get("alpha_mode") == "1" and decoder.name in SEES_THROUGH:
        other = CodecContext.create(SEES_THROUGH[decoder.name], "r")
        assert isinstance(other, VideoCodecContext)
        decoder = other
    decoder.thread_count = 1
    if max_pixels:
        decoder.options = {"max_pixels": str(max_pixels)}
    return decoder


class Pictures:
    """Takes a stream's frames in order of time; keeps what is shown at fixed moments, small."""

    def __init__(
        self, stream: VideoStream, decoder: VideoCodecContext, sampling: Sampling, size: int, origin: float
    ) -> None:
        self.stream, self.decoder = stream, decoder
        self._sampling, self._size, self._origin = sampling, size, origin
        self.skipping = Skipping(decoder, origin)
        self._moments = deque(moments(sampling, _playing(stream, origin)))
        self._shown: VideoFrame | None = None
        self._small: np.ndarray | None = None
        self._time = 0.0
        self._kept: list[tuple[int, np.ndarray]] = []  # (segment, picture)
        self._scaler = VideoReformatter()

    @property
    def started(self) -> bool:
        return self._shown is not None

    @property
    def full(self) -> bool:
        return not self._moments

    @property
    def wanted(self) -> float:
        """The moment of the next picture, in seconds since the start of the file."""
        return self._moments[0][1]

    def feed(self, frame: VideoFrame) -> None:
        """The next frame: until now the one before it was shown."""
        time = self._time_of(frame)
        while self._moments and self.wanted < time:
            segment, _ = self._moments.popleft()
            self._keep(segment)
        self._shown, self._small, self._time = frame, None, time

    def flush(self) -> None:
        """There is no next frame. A last segment that ended before its first moment shows its last frame."""
        if self._shown is None:
            return
        while self._moments and self.wanted <= self._time:
            segment, _ = self._moments.popleft()
            self._keep(segment)
        last = max(0, int(self._time / self._sampling.segment_seconds))
        kept = self._kept[-1][0] if self._kept else -1
        if kept < last < self._sampling.max_segments:
            self._keep(last)

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

    def _keep(self, segment: int) -> None:
        """What is shown now is a picture of the segment; before the first frame that is nothing."""
        if self._shown is None:
            return
        if self._small is None:
            pixel = float(self.stream.sample_aspect_ratio or 1)
            fit = self._sampling.image_fit
            self._small = picture(self._shown, self._size, fit, pixel, self._scaler)
        self._kept.append((segment, self._small))


def moments(sampling: Sampling, playing: float | None) -> list[tuple[int, float]]:
    """(segment, seconds since the start) of the pictures wanted: each from the middle of an equal part.

    Args:
        playing: how long the video plays by its header, which may be wrong: the last segment's pictures are
            spread over what there is of it, and should there be more video, it is sampled all the same.
    """
    length, count = sampling.segment_seconds, sampling.frames_per_segment
    told: list[tuple[int, float]] = []
    untold: list[tuple[int, float]] = []
    for segment in range(sampling.max_segments):
        start = segment * length
        here = playing is not None and start < playing
        span = min(length, playing - start) if playing is not None and here else length
        (told if here else untold).extend((segment, start + (j + 0.5) / count * span) for j in range(count))
    return evenly(told, sampling.frames_per_video) + untold


def _playing(stream: VideoStream, origin: float) -> float | None:
    """Seconds from the start of the file to the end of the stream, as far as the header tells."""
    if stream.duration and stream.time_base:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin
    assert isinstance(stream.container, InputContainer)
    whole = stream.container.duration
    return whole / av.time_base if whole else None


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
