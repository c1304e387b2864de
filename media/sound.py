"""The sound of each segment: mono, at the encoder's rate."""

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

from media.clip import Sampling

MIN_SECONDS = 0.1  # a shorter tail is the codec's padding, not a segment


class Sound:
    """Takes a stream's sound frames in order of time; keeps them up to the last segment."""

    def __init__(self, stream: AudioStream, sampling: Sampling, rate: int, origin: float) -> None:
        self.stream, self._rate, self._origin = stream, rate, origin
        self.decoder = stream.codec_context
        self._segment = round(sampling.segment_seconds * rate)
        self._limit = self._segment * sampling.max_segments
        self._resampler = AudioResampler(format="flt", layout="mono", rate=rate)
        self._parts: list[np.ndarray] = []
        self._length = 0
        self.started = False

    @property
    def full(self) -> bool:
        return self._length >= self._limit

    def feed(self, frame: AudioFrame) -> None:
        """The next frame of samples.

        Raises:
            ValueError: its format differs from the frames before it.
        """
        if not self.started:
            self._start(frame)
        self._add(self._resampler.resample(frame))

    def flush(self) -> None:
        """There is no next frame: take what the resampler holds back."""
        if self.started:
            self._add(self._resampler.resample(None))

    def segments(self) -> dict[int, np.ndarray]:
        """Segment -> float32 samples in [-1, 1]."""
        samples = np.concatenate([np.zeros(0, np.float32), *self._parts])[: self._limit]
        samples = np.nan_to_num(samples, posinf=1, neginf=-1).clip(-1, 1)
        starts = range(0, len(samples), self._segment)
        cut = {start // self._segment: samples[start : start + self._segment] for start in starts}
        return {n: part for n, part in cut.items() if n == 0 or len(part) >= MIN_SECONDS * self._rate}

    def _start(self, frame: AudioFrame) -> None:
        """Sound that begins after the picture does is preceded by silence."""
        self.started = True
        late = (frame.time or 0.0) - self._origin if frame.pts is not None else 0.0
        silence = min(max(0, round(late * self._rate)), self._limit)
        self._parts.append(np.zeros(silence, np.float32))
        self._length = silence

    def _add(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            self._parts.append(frame.to_ndarray().reshape(-1))
            self._length += frame.samples
