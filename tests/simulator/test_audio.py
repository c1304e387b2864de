from dataclasses import replace

import numpy as np

from simulator.audio import SAMPLE_RATE, render_audio
from simulator.catalogue import make_videos
from simulator.topics import TOPICS
from tests.support.simulated_platforms import small_calendar

VIDEO = replace(
    make_videos(3, small_calendar())[0], duration_ms=10_000, segment_topics=(0, 0), segment_appeal=(0.0, 0.0)
)


def _render_topic(topic: int, number: int) -> np.ndarray:
    return render_audio(replace(VIDEO, video_id=f"syn-v{number}", topics=(0, 0, topic)), seed=1)


def _spectrum(samples: np.ndarray) -> np.ndarray:
    """Return mean and deviation of the log power in 24 bands, like a coarse mel spectrogram."""
    windows = samples[: len(samples) // 512 * 512].reshape(-1, 512) * np.hanning(512)
    power = np.abs(np.fft.rfft(windows))[:, 1:] ** 2
    edges = np.unique(np.geomspace(1, 256, 25).astype(int)) - 1
    bands = np.log(np.add.reduceat(power, edges, axis=1) + 1e-4)
    return np.concatenate([bands.mean(0), bands.std(0)])


def test_audio_is_as_long_as_the_video_and_never_clips():
    for topic in range(len(TOPICS)):
        samples = _render_topic(topic, 0)
        assert samples.shape == (10 * SAMPLE_RATE,)
        assert samples.dtype == np.float32
        assert 0.05 < np.abs(samples).max() <= 1


def test_topics_are_classified_by_their_sound():
    mean_spectra = np.array(
        [np.mean([_spectrum(_render_topic(topic, n)) for n in range(3)], axis=0) for topic in range(12)]
    )
    correct = [
        ((mean_spectra - _spectrum(_render_topic(topic, n))) ** 2).sum(1).argmin() == topic
        for topic in range(len(TOPICS))
        for n in range(3, 7)
    ]
    assert np.mean(correct) > 0.9


def test_an_appealing_segment_is_louder():
    samples = render_audio(replace(VIDEO, segment_appeal=(-2.0, 2.0)), seed=1)
    quiet, loud = samples[: 5 * SAMPLE_RATE], samples[5 * SAMPLE_RATE :]
    assert loud.std() > 1.5 * quiet.std()
