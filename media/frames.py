"""Sample evenly spaced images of each video segment from the stream of decoded frames."""

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

from media.clip import ResizeMode, SamplingConfig, UnreadableMedia
from media.packet_skipping import PacketSkipper

# Longer sides are squeezed to this ratio, so that a frame of one pixel row is not scaled to gigabytes.
MAX_ASPECT_RATIO = 8
HDR_TRANSFERS = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)  # PQ and HLG
SCALER_FLAGS = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # libav's own decoders ignore transparency


def open_video_decoder(stream: VideoStream, max_pixels: int | None) -> VideoCodecContext:
    """Return the decoder of a stream, with one thread because each worker process decodes one file.

    Args:
        stream: the video stream.
        max_pixels: limit for the pixels of a frame. None: no limit. libav refuses later frames beyond it.

    Raises:
        UnreadableMedia: the frame size in the header is beyond `max_pixels`.
    """
    decoder = stream.codec_context
    if max_pixels and decoder.width * decoder.height > max_pixels:
        size = f"{decoder.width} × {decoder.height}"
        raise UnreadableMedia("too_many_pixels", f"{size}; embed.max_megapixels is {max_pixels / 1e6:g}")
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    if tags.get("alpha_mode") == "1" and decoder.name in ALPHA_DECODERS:
        alpha_decoder = CodecContext.create(ALPHA_DECODERS[decoder.name], "r")
        assert isinstance(alpha_decoder, VideoCodecContext)
        decoder = alpha_decoder
    decoder.thread_count = 1
    if max_pixels:
        decoder.options = {"max_pixels": str(max_pixels)}
    return decoder


class FrameSampler:
    """Samples small images of what is shown at fixed times, from frames in order of time.

    A still is a larger image of the first of these times of a segment.

    Args:
        stream: the video stream.
        decoder: the decoder of the stream.
        sampling: the grid of segments, and the number and size of images and stills.
        origin: time stamp of the start of the file, in seconds.
    """

    def __init__(
        self, stream: VideoStream, decoder: VideoCodecContext, sampling: SamplingConfig, origin: float
    ) -> None:
        self.stream, self.decoder = stream, decoder
        self._sampling, self._origin = sampling, origin
        self.packet_skipper = PacketSkipper(decoder, origin)
        self._pending_times = deque(sampling_times(sampling, _stream_duration(stream, origin)))
        self._current_frame: VideoFrame | None = None
        self._current_image: np.ndarray | None = None
        self._current_time = 0.0
        self._images: list[tuple[int, np.ndarray]] = []  # (segment, image)
        self._stills: dict[int, np.ndarray] = {}
        self._last_segment = -1  # the last one that an image or still was kept of
        self._scaler, self._still_scaler = VideoReformatter(), VideoReformatter()

    @property
    def started(self) -> bool:
        return self._current_frame is not None

    @property
    def is_complete(self) -> bool:
        """Whether no more frames are needed."""
        return not self._pending_times

    @property
    def next_time(self) -> float:
        """Time of the next image, in seconds since the start of the file."""
        return self._pending_times[0][1]

    def feed(self, frame: VideoFrame) -> None:
        """Add the next frame. The previous frame was shown until its time stamp."""
        time = self._frame_time(frame)
        while self._pending_times and self.next_time < time:
            segment, _ = self._pending_times.popleft()
            self._keep_current(segment)
        self._current_frame, self._current_image, self._current_time = frame, None, time

    def flush(self) -> None:
        """End the stream. A last segment that ends before its first sampling time gets the last frame."""
        if self._current_frame is None:
            return
        while self._pending_times and self.next_time <= self._current_time:
            segment, _ = self._pending_times.popleft()
            self._keep_current(segment)
        last_segment = max(0, int(self._current_time / self._sampling.segment_seconds))
        if self._last_segment < last_segment < self._sampling.max_segments:
            self._keep_current(last_segment)

    def images_by_segment(self) -> dict[int, np.ndarray]:
        """Return segment -> RGB images [n, size, size, 3] uint8, n ≤ frames_per_segment."""
        images_by_segment: dict[int, list[np.ndarray]] = {}
        for segment, image in subsample_evenly(self._images, self._sampling.frames_per_video):
            images_by_segment.setdefault(segment, []).append(image)
        return {segment: np.stack(images) for segment, images in images_by_segment.items()}

    def stills(self) -> tuple[np.ndarray, ...]:
        """Return RGB images [height, width, 3] uint8 in order of time, at most `stills_per_video`."""
        return tuple(subsample_evenly([*self._stills.values()], self._sampling.stills_per_video))

    def _frame_time(self, frame: VideoFrame) -> float:
        """Return seconds since the start of the file. Without a time stamp the stream's rate is used."""
        if frame.pts is not None and frame.time is not None:
            return frame.time - self._origin
        rate = float(self.stream.average_rate or 25)
        return self._current_time + 1 / rate if self.started else 0.0

    def _keep_current(self, segment: int) -> None:
        """Add the frame that is shown now to a segment. Before the first frame, add nothing."""
        frame, sampling = self._current_frame, self._sampling
        if frame is None:
            return
        pixel_aspect_ratio = float(self.stream.sample_aspect_ratio or 1)
        if sampling.image_size and self._current_image is None:
            self._current_image = frame_to_rgb(
                frame, sampling.image_size, sampling.resize_mode, pixel_aspect_ratio, self._scaler
            )
        if self._current_image is not None:
            self._images.append((segment, self._current_image))
        if sampling.still_size and segment not in self._stills:
            self._stills[segment] = frame_to_rgb(
                frame, sampling.still_size, "longest", pixel_aspect_ratio, self._still_scaler
            )
        self._last_segment = segment


def sampling_times(sampling: SamplingConfig, duration: float | None) -> list[tuple[int, float]]:
    """Return the sampling times: each in the middle of an equal part of its segment.

    Args:
        sampling: the grid of segments and the number of images.
        duration: duration by the header in seconds, or None. In the last segment the times are spread over
            the part up to it. The header may be wrong, so times after it are returned too.

    Returns:
        (segment, seconds since the start) in order.
    """
    segment_seconds, frames_per_segment = sampling.segment_seconds, sampling.frames_per_segment
    known_times: list[tuple[int, float]] = []
    unknown_times: list[tuple[int, float]] = []
    for segment in range(sampling.max_segments):
        start = segment * segment_seconds
        within_duration = duration is not None and start < duration
        span = (
            min(segment_seconds, duration - start)
            if duration is not None and within_duration
            else segment_seconds
        )
        (known_times if within_duration else unknown_times).extend(
            (segment, start + (j + 0.5) / frames_per_segment * span) for j in range(frames_per_segment)
        )
    return subsample_evenly(known_times, sampling.frames_per_video) + unknown_times


def _stream_duration(stream: VideoStream, origin: float) -> float | None:
    """Return seconds from the start of the file to the end of the stream by the header, or None."""
    if stream.duration and stream.time_base:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin
    assert isinstance(stream.container, InputContainer)
    container_duration = stream.container.duration
    return container_duration / av.time_base if container_duration else None


def subsample_evenly(values: Sequence[Any], max_count: float) -> list[Any]:
    """Return at most `max_count` values, each from the middle of an equal part of them.

    `max_count` may be infinite.
    """
    count = int(min(max_count, len(values)))
    return [values[int((j + 0.5) * len(values) / count)] for j in range(count)]


def frame_to_rgb(
    frame: VideoFrame, size: int, resize_mode: ResizeMode, pixel_aspect_ratio: float, scaler: VideoReformatter
) -> np.ndarray:
    """Convert a frame to an upright RGB image. Transparent pixels become black, as on the platform.

    Args:
        frame: the decoded frame.
        size: side of the square image, or longest side, in pixels.
        resize_mode: as in `SamplingConfig`.
        pixel_aspect_ratio: the width of a pixel divided by its height.
        scaler: a scaler that is reused, because it is fast for frames of the same format.

    Returns:
        The image [size, size, 3], uint8; with `longest` [height, width, 3], each at most `size`.
    """
    width, height = _scaled_size(frame.width * pixel_aspect_ratio, frame.height, size, resize_mode)
    hdr, alpha = frame.color_trc in HDR_TRANSFERS, _has_alpha(frame.format)
    pixels = "rgb48le" if hdr else "rgba" if alpha else "rgb24"
    scaled = scaler.reformat(frame, width, height, pixels, interpolation=SCALER_FLAGS, threads=1)
    if hdr:
        scaled.color_trc, scaled.color_primaries = frame.color_trc, frame.color_primaries
        scaled = _hdr_reformatter(frame.color_trc, width, height).reformat(
            scaled, format="rgb24", dst_color_trc=ColorTrc.BT709, dst_color_primaries=ColorPrimaries.BT709
        )
    top, left = max(0, height - size) // 2, max(0, width - size) // 2
    image = scaled.to_ndarray()[top : top + size, left : left + size]
    if image.shape[2] == 4:
        image = _composite_on_black(image)
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))


def _has_alpha(pixels: VideoFormat) -> bool:
    return pixels.has_palette or any(component.is_alpha for component in pixels.components)


def _composite_on_black(rgba: np.ndarray) -> np.ndarray:
    premultiplied = rgba[..., :3].astype(np.uint16) * rgba[..., 3:]
    return ((premultiplied + 127) // 255).astype(np.uint8)


@lru_cache(maxsize=8)
def _hdr_reformatter(transfer: int, width: int, height: int) -> VideoReformatter:
    """Return a converter from HDR to the range of an SDR screen, with brighter values clipped.

    The arguments are only the cache key. A converter keeps its tables for one format, and building them takes
    seconds.
    """
    return VideoReformatter()


def _scaled_size(width: float, height: float, size: int, resize_mode: ResizeMode) -> tuple[int, int]:
    if resize_mode == "squash":
        return size, size
    if resize_mode == "longest":
        scale = min(1.0, size / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))
    scale = size / min(width, height)
    new_width, new_height = (
        min(max(round(side * scale), size), MAX_ASPECT_RATIO * size) for side in (width, height)
    )
    return new_width, new_height
