"""Does it sound when it moves? How well the beats of a video's sound fit the motion of its pictures.

Frame motion (how much a shown frame differs from the one before) and onset strength (spectral flux of the
mono sound) on one grid of time, and their cross-correlation over delays of up to a second. This is our own
design: the survey that asks for audio-visual synchrony (SVARM) cites no method that could be followed.
Whoever changes what it gives changes `media.clip.SYNCHRONY_METHOD`.

Legend: T steps of the grid, N frames, W windows of sound, K sound samples, L delays.
"""

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from media.clip import Synchrony

STEP = 0.1  # seconds; about what viewers notice: sound .045 s early or .125 s late (ITU-R BT.1359)
MAX_DELAY = 10  # steps
MIN_SECONDS = 2.0
SIDE = 32  # a frame's motion is measured on SIDE × SIDE of its points
STILL = 0.25  # grey levels of 255: what coding alone may change
SILENT = 0.001  # of full scale: -60 dB
SOUND_RATE = 8000  # Hz
WINDOW, HOP = 400, 200  # samples: 50 ms, 25 ms
GAIN = 100.0  # before the log: a tone of 1 % of full scale still counts a tenth of a full one
POINTS = Interpolation.POINT | Interpolation.BITEXACT


class Motion:
    """Takes a stream's frames in order of time; keeps SIDE × SIDE grey points of each (1 KiB)."""

    def __init__(
        self, stream: VideoStream, decoder: VideoCodecContext, seconds: float, origin: float
    ) -> None:
        self.stream, self.decoder, self._seconds, self._origin = stream, decoder, seconds, origin
        self._scaler = VideoReformatter()
        self._time = 0.0
        self._times: list[float] = []
        self._greys: list[np.ndarray] = []

    @property
    def started(self) -> bool:
        return bool(self._times)

    @property
    def full(self) -> bool:
        return self._time >= self._seconds

    def feed(self, frame: VideoFrame) -> None:
        """The next frame; one without a time stamp follows at the stream's rate."""
        if frame.pts is not None and frame.time is not None:
            self._time = frame.time - self._origin
        elif self.started:
            self._time += 1 / float(self.stream.average_rate or 25)
        small = self._scaler.reformat(frame, SIDE, SIDE, "gray", interpolation=POINTS, threads=1)
        self._times.append(self._time)
        self._greys.append(small.to_ndarray())

    def flush(self) -> None:
        """Nothing is held back."""

    def strengths(self) -> tuple[np.ndarray, np.ndarray]:
        """When each frame is shown, seconds [N], and its mean change from the one before, grey levels [N]."""
        if not self._greys:
            return np.zeros(0), np.zeros(0)
        grey_NHW = np.stack([self._greys[0], *self._greys]).astype(np.int16)
        return np.array(self._times), np.abs(np.diff(grey_NHW, axis=0)).mean((1, 2))


def measure(seconds_N: np.ndarray, change_N: np.ndarray, sound_K: np.ndarray) -> Synchrony | None:
    """The synchrony of motion (see `Motion.strengths`) and of mono sound at SOUND_RATE.

    None, unknown: less than MIN_SECONDS of both, nothing moves, or nothing is heard.
    """
    end = min(seconds_N.max(initial=0.0), len(sound_K) / SOUND_RATE)
    moves, sounds = change_N.max(initial=0.0) > STILL, np.abs(sound_K).max(initial=0.0) > SILENT
    if end < MIN_SECONDS or not moves or not sounds:
        return None
    steps = int(end / STEP)
    motion_T = on_grid(seconds_N, np.log1p(change_N), steps)  # log: one cut is not all the motion there is
    onset_T = on_grid(*onsets(sound_K), steps)
    fit_L = correlations(motion_T, onset_T)
    if fit_L is None:
        return None
    best = int(fit_L.argmax())
    return Synchrony(float(fit_L[MAX_DELAY]), float(fit_L[best]), round((best - MAX_DELAY) * STEP * 1000))


def onsets(sound_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spectral flux: seconds [W], and how much louder than before the frequencies are on average [W]."""
    cut_WK = np.lib.stride_tricks.sliding_window_view(sound_K.astype(np.float32), WINDOW)[::HOP]
    hann = np.hanning(WINDOW).astype(np.float32)
    loud_WF = np.log1p(GAIN * np.abs(np.fft.rfft(cut_WK * hann)) / hann.sum())
    flux_W = np.maximum(np.diff(loud_WF, axis=0), 0).mean(1)
    enters = 0.75 * WINDOW  # where in its window a sound begins to count: there the window rises fastest
    return (np.arange(1, len(loud_WF)) * HOP + enters) / SOUND_RATE, flux_W


def on_grid(seconds_N: np.ndarray, strength_N: np.ndarray, steps: int) -> np.ndarray:
    """The greatest strength around each point of the grid [T]; 0 where nothing happened."""
    grid_T = np.zeros(steps)
    at_N = np.rint(seconds_N / STEP).astype(int)
    inside_N = (at_N >= 0) & (at_N < steps)
    np.maximum.at(grid_T, at_N[inside_N], strength_N[inside_N])
    return grid_T


def correlations(a_T: np.ndarray, b_T: np.ndarray) -> np.ndarray | None:
    """Cross-correlation [L] for b behind a by -MAX_DELAY … MAX_DELAY steps; None where either is constant.

    Normalised by the whole series, so that a delay that leaves little overlap counts less, and |…| ≤ 1.
    """
    a_T, b_T = a_T - a_T.mean(), b_T - b_T.mean()
    scale = np.linalg.norm(a_T) * np.linalg.norm(b_T)
    if scale < 1e-9:
        return None
    middle = len(a_T) - 1
    return np.correlate(b_T, a_T, "full")[middle - MAX_DELAY : middle + MAX_DELAY + 1] / scale
