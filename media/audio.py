"""Sample the audio of each video segment: mono, at the encoder's sample rate."""

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

from media.clip import SamplingConfig

MIN_TAIL_SECONDS = 0.1  # a shorter tail is the codec's padding, not a segment


class AudioSampler:
    """Collects the audio frames of a stream, in order of time, up to the last segment.

    Args:
        stream: the audio stream.
        sampling: the grid of segments.
        sample_rate: rate of the samples, Hz.
        origin: time of the file's clock at its start, seconds.
    """

    def __init__(
        self, stream: AudioStream, sampling: SamplingConfig, sample_rate: int, origin: float
    ) -> None:
        self.stream, self._sample_rate, self._origin = stream, sample_rate, origin
        self.decoder = stream.codec_context
        self._segment_samples = round(sampling.segment_seconds * sample_rate)
        self._max_samples = self._segment_samples * sampling.max_segments
        self._resampler = AudioResampler(format="flt", layout="mono", rate=sample_rate)
        self._chunks: list[np.ndarray] = []
        self._num_samples = 0
        self.started = False

    @property
    def is_complete(self) -> bool:
        """Whether no more frames are needed."""
        return self._num_samples >= self._max_samples

    def feed(self, frame: AudioFrame) -> None:
        """Add the next frame.

        Raises:
            ValueError: its format differs from that of the frames before it.
        """
        if not self.started:
            self._pad_start(frame)
        self._append(self._resampler.resample(frame))

    def flush(self) -> None:
        """End the stream: add the samples that the resampler still buffers."""
        if self.started:
            self._append(self._resampler.resample(None))

    def samples_by_segment(self) -> dict[int, np.ndarray]:
        """Return segment -> float32 samples in [-1, 1]."""
        samples = np.concatenate([np.zeros(0, np.float32), *self._chunks])[: self._max_samples]
        samples = np.nan_to_num(samples, posinf=1, neginf=-1).clip(-1, 1)
        starts = range(0, len(samples), self._segment_samples)
        samples_by_segment = {
            start // self._segment_samples: samples[start : start + self._segment_samples] for start in starts
        }
        return {
            n: part
            for n, part in samples_by_segment.items()
            if n == 0 or len(part) >= MIN_TAIL_SECONDS * self._sample_rate
        }

    def _pad_start(self, frame: AudioFrame) -> None:
        """Add silence before audio that begins later than the file."""
        self.started = True
        offset = (frame.time or 0.0) - self._origin if frame.pts is not None else 0.0
        silence = min(max(0, round(offset * self._sample_rate)), self._max_samples)
        self._chunks.append(np.zeros(silence, np.float32))
        self._num_samples = silence

    def _append(self, frames: list[AudioFrame]) -> None:
        for frame in frames:
            self._chunks.append(frame.to_ndarray().reshape(-1))
            self._num_samples += frame.samples
