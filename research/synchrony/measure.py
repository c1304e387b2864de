"""Measure the synchrony of a video: how well the onsets of its sound fit the motion of its frames.

Motion is how much what is shown changes, by one of two forms. Onset strength is the spectral flux of the mono
sound. Both are put on one time grid, and cross-correlated over delays of up to one second.

The form `frames` compares the pixels of successive frames. The form `embeddings` compares the embeddings of
successive groups of frames (`embedding_motion.py`).

The design is our own, because the survey that asks for audio-visual synchrony (SVARM) cites no usable method.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from media.audio import AudioSampler
from media.clip import DecodeLimits, SamplingConfig, UnreadableMedia
from media.decode import (
    AV_ERRORS,
    ENCRYPTED_MESSAGE,
    NO_LIMITS,
    describe_error,
    open_media,
    select_streams,
)
from media.frames import open_video_decoder

GRID_SECONDS = 0.1  # viewers notice sound that is 0.045 s early or 0.125 s late (ITU-R BT.1359)
MAX_DELAY_STEPS = 10  # grid steps
MIN_SECONDS = 2.0
MOTION_SIDE = 32  # motion is measured on MOTION_SIDE × MOTION_SIDE grey pixels
MIN_MOTION = 0.25  # grey levels of 255; coding alone can change as much
MIN_AMPLITUDE = 0.001  # of full scale: -60 dB
SYNCHRONY_SAMPLE_RATE = 8000  # Hz
WINDOW_SAMPLES, HOP_SAMPLES = 400, 200  # 50 ms, 25 ms
LOG_GAIN = 100.0  # gain before the log, so that a tone of 1 % of full scale counts a tenth of a full one
SCALER_FLAGS = Interpolation.POINT | Interpolation.BITEXACT


@dataclass(frozen=True)
class Synchrony:
    """How well the onsets of the sound fit the motion of the frames.

    Attributes:
        correlation: their correlation without a delay, in [-1, 1].
        best_correlation: their correlation at the best delay, in [-1, 1].
        best_delay_ms: delay of the sound after the motion. Below 0 the sound comes first.
    """

    correlation: float
    best_correlation: float
    best_delay_ms: int


@dataclass(frozen=True)
class MotionForm:
    """A way to measure motion.

    Attributes:
        side: side of the small images that it reads, in pixels.
        pixels: their pixel format.
        interval: time between images, seconds. Frames in between are left out. 0: every frame is an image.
        motion: images [N, side, side, ...] uint8 -> motion at each of them [N].
        min_motion: a video whose motion stays below it does not move.
    """

    side: int
    pixels: str
    interval: float
    motion: Callable[[np.ndarray], np.ndarray]
    min_motion: float


def frame_differences(grey_NXX: np.ndarray) -> np.ndarray:
    """Return the mean change of each frame from the frame before, in grey levels of 255 [N]."""
    levels_NXX = np.concatenate([grey_NXX[:1], grey_NXX]).astype(np.int16)
    return np.abs(np.diff(levels_NXX, axis=0)).mean((1, 2))


FRAMES = MotionForm(MOTION_SIDE, "gray", 0.0, frame_differences, MIN_MOTION)


class MotionSampler:
    """Collects a small image of the frames of a stream, in order of time.

    Args:
        stream: the video stream.
        decoder: the decoder of the stream.
        form: the images.
        max_seconds: later frames are not needed.
        origin: time of the file's clock at its start, seconds.
    """

    def __init__(
        self,
        stream: VideoStream,
        decoder: VideoCodecContext,
        form: MotionForm,
        max_seconds: float,
        origin: float,
    ) -> None:
        self.stream, self.decoder, self._max_seconds, self._origin = stream, decoder, max_seconds, origin
        self._form, self._scaler = form, VideoReformatter()
        self._current_time = 0.0
        self._times: list[float] = []
        self._images: list[np.ndarray] = []

    @property
    def is_complete(self) -> bool:
        """Whether no more frames are needed."""
        return self._current_time >= self._max_seconds

    def feed(self, frame: VideoFrame) -> None:
        """Add the next frame. Without a time stamp the stream's rate is used."""
        if frame.pts is not None and frame.time is not None:
            self._current_time = frame.time - self._origin
        elif self._times:
            self._current_time += 1 / float(self.stream.average_rate or 25)
        if self._times and self._slot(self._current_time) == self._slot(self._times[-1]):
            return
        size = (self._form.side, self._form.side)
        small = self._scaler.reformat(frame, *size, self._form.pixels, interpolation=SCALER_FLAGS, threads=1)
        self._times.append(self._current_time)
        self._images.append(small.to_ndarray())

    def motion(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the times of the changes to N images in seconds [N], and the motion at each [N].

        A change lies anywhere between two images, so its time is half an interval before the second.
        """
        if not self._images:
            return np.zeros(0), np.zeros(0)
        return np.array(self._times) - self._form.interval / 2, self._form.motion(np.stack(self._images))

    def _slot(self, seconds: float) -> float:
        """Return the number of a frame's interval. Half a millisecond is for rounded times."""
        return (seconds + 0.0005) // self._form.interval if self._form.interval else seconds


def measure_video(
    path: Path, seconds: float, limits: DecodeLimits = NO_LIMITS, form: MotionForm = FRAMES
) -> Synchrony | None:
    """Decode the start of a video and measure its synchrony.

    Args:
        path: the file.
        seconds: length of the part that is measured.
        limits: limits of file size, duration and frame size.
        form: how motion is measured.

    Returns:
        The synchrony, or None as in `measure_synchrony`.

    Raises:
        UnreadableMedia: as for `read_motion_and_sound`.
    """
    seconds_N, motion_N, samples = read_motion_and_sound(path, seconds, limits, form)
    return measure_synchrony(seconds_N, motion_N, samples, form.min_motion)


def read_motion_and_sound(
    path: Path, seconds: float, limits: DecodeLimits = NO_LIMITS, form: MotionForm = FRAMES
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decode the start of a video.

    Returns:
        The times of N images in seconds [N], the motion at each [N], and the mono sound at
        `SYNCHRONY_SAMPLE_RATE`.

    Raises:
        UnreadableMedia: the file is missing, not media, damaged, encrypted, beyond `limits`, or without video
            or audio.
    """
    with open_media(path, limits) as container:
        motion, audio = _samplers(container, seconds, limits, form)
        _feed(container, motion, audio)
    return *motion.motion(), audio.samples_by_segment().get(0, np.zeros(0, np.float32))


def _samplers(
    container: InputContainer, seconds: float, limits: DecodeLimits, form: MotionForm
) -> tuple[MotionSampler, AudioSampler]:
    origin = (container.start_time or 0) / av.time_base
    streams = select_streams(container)
    videos = [stream for stream in streams if isinstance(stream, VideoStream)]
    audios = [stream for stream in streams if isinstance(stream, AudioStream)]
    if not videos or not audios:
        missing = "audio" if videos else "video"
        raise UnreadableMedia(f"no_{missing}_stream", f"the file has no {missing} stream")
    decoder = open_video_decoder(videos[0], limits.max_pixels)
    whole = SamplingConfig(seconds, 1, 1, None, "shortest", SYNCHRONY_SAMPLE_RATE)  # one segment
    return (
        MotionSampler(videos[0], decoder, form, seconds, origin),
        AudioSampler(audios[0], whole, SYNCHRONY_SAMPLE_RATE, origin),
    )


def _feed(container: InputContainer, motion: MotionSampler, audio: AudioSampler) -> None:
    """Decode both streams until both samplers are complete or the file ends."""
    try:
        for packet in container.demux(motion.stream, audio.stream):
            if packet.has_sidedata("encryption_info"):
                raise UnreadableMedia("encrypted_media", ENCRYPTED_MESSAGE)
            if motion.is_complete and audio.is_complete:
                break
            sampler = motion if packet.stream.index == motion.stream.index else audio
            if not sampler.is_complete:
                for frame in sampler.decoder.decode(packet):
                    sampler.feed(frame)  # type: ignore[arg-type]  # the frame type follows from the stream
        audio.flush()
    except AV_ERRORS as error:
        raise UnreadableMedia("decode_error", describe_error(error)) from None


def measure_synchrony(
    seconds_N: np.ndarray, motion_N: np.ndarray, samples: np.ndarray, min_motion: float = MIN_MOTION
) -> Synchrony | None:
    """Measure the synchrony of motion and sound.

    Args:
        seconds_N, motion_N: times and motion of N images, as of `MotionSampler.motion`.
        samples: mono sound at `SYNCHRONY_SAMPLE_RATE`.
        min_motion: motion that stays below it is none.

    Returns:
        The synchrony, or None if it is unknown: less than `MIN_SECONDS` of both, no motion, or silence.
    """
    duration = min(seconds_N.max(initial=0.0), len(samples) / SYNCHRONY_SAMPLE_RATE)
    has_motion = motion_N.max(initial=0.0) > min_motion
    has_sound = np.abs(samples).max(initial=0.0) > MIN_AMPLITUDE
    if duration < MIN_SECONDS or not has_motion or not has_sound:
        return None
    steps = int(duration / GRID_SECONDS)
    # The log keeps a single cut from outweighing all other motion.
    motion_T = resample_to_grid(seconds_N, np.log1p(motion_N), steps)
    onset_T = resample_to_grid(*onset_strength(samples), steps)
    correlation_by_delay = cross_correlation(motion_T, onset_T)
    if correlation_by_delay is None:
        return None
    best = int(correlation_by_delay.argmax())
    return Synchrony(
        float(correlation_by_delay[MAX_DELAY_STEPS]),
        float(correlation_by_delay[best]),
        round((best - MAX_DELAY_STEPS) * GRID_SECONDS * 1000),
    )


def onset_strength(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the onset strength of sound as its spectral flux over N windows.

    Returns:
        The times of the windows in seconds [N], and the mean increase of the log magnitudes since the window
        before [N].
    """
    windows = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float32), WINDOW_SAMPLES)
    window_NX = windows[::HOP_SAMPLES]  # X: samples of a window
    hann = np.hanning(WINDOW_SAMPLES).astype(np.float32)
    log_magnitude_NF = np.log1p(LOG_GAIN * np.abs(np.fft.rfft(window_NX * hann)) / hann.sum())
    flux_N = np.maximum(np.diff(log_magnitude_NF, axis=0), 0).mean(1)
    # A sound begins to count where the window function rises fastest.
    onset_offset = 0.75 * WINDOW_SAMPLES
    return (np.arange(1, len(log_magnitude_NF)) * HOP_SAMPLES + onset_offset) / SYNCHRONY_SAMPLE_RATE, flux_N


def resample_to_grid(seconds_N: np.ndarray, strength_N: np.ndarray, steps: int) -> np.ndarray:
    """Return the greatest strength around each of T grid points, 0 if there is none.

    Args:
        seconds_N, strength_N: times in seconds, and strengths.
        steps: number of grid points T.
    """
    grid_T = np.zeros(steps)
    index_N = np.rint(seconds_N / GRID_SECONDS).astype(int)
    inside_N = (index_N >= 0) & (index_N < steps)
    np.maximum.at(grid_T, index_N[inside_N], strength_N[inside_N])
    return grid_T


def cross_correlation(a_T: np.ndarray, b_T: np.ndarray) -> np.ndarray | None:
    """Return the cross-correlation for b later than a by -MAX_DELAY_STEPS to MAX_DELAY_STEPS steps.

    It is normalised by the whole series. So its absolute value is at most 1, and a delay with little overlap
    counts less. It is None if either series is constant.
    """
    a_T, b_T = a_T - a_T.mean(), b_T - b_T.mean()
    scale = np.linalg.norm(a_T) * np.linalg.norm(b_T)
    if scale < 1e-9:
        return None
    middle = len(a_T) - 1
    return np.correlate(b_T, a_T, "full")[middle - MAX_DELAY_STEPS : middle + MAX_DELAY_STEPS + 1] / scale
