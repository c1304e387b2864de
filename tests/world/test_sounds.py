from dataclasses import replace

import numpy as np

from tests.world.worlds import days
from world.catalogue import make_videos
from world.sounds import SAMPLE_RATE, sound
from world.topics import TOPICS

VIDEO = replace(make_videos(3, days())[0], duration_ms=10_000, segment_topics=(0, 0), appeal=(0.0, 0.0))


def _of(topic: int, number: int) -> np.ndarray:
    return sound(replace(VIDEO, video_id=f"syn-v{number}", topics=(0, 0, topic)), seed=1)


def _spectrum(samples: np.ndarray) -> np.ndarray:
    """Mean logarithmic power in 24 bands, and how much it changes: a poor mel spectrogram."""
    windows = samples[: len(samples) // 512 * 512].reshape(-1, 512) * np.hanning(512)
    power = np.abs(np.fft.rfft(windows))[:, 1:] ** 2
    edges = np.unique(np.geomspace(1, 256, 25).astype(int)) - 1
    bands = np.log(np.add.reduceat(power, edges, axis=1) + 1e-4)
    return np.concatenate([bands.mean(0), bands.std(0)])


def test_a_sound_is_as_long_as_the_video_and_never_clips():
    for topic in range(len(TOPICS)):
        samples = _of(topic, 0)
        assert samples.shape == (10 * SAMPLE_RATE,)
        assert samples.dtype == np.float32
        assert 0.05 < np.abs(samples).max() <= 1


def test_topics_can_be_told_apart_by_their_sound():
    known = np.array([np.mean([_spectrum(_of(topic, n)) for n in range(3)], axis=0) for topic in range(12)])
    right = [
        ((known - _spectrum(_of(topic, n))) ** 2).sum(1).argmin() == topic
        for topic in range(len(TOPICS))
        for n in range(3, 7)
    ]
    assert np.mean(right) > 0.9


def test_an_appealing_segment_is_louder():
    samples = sound(replace(VIDEO, appeal=(-2.0, 2.0)), seed=1)
    quiet, loud = samples[: 5 * SAMPLE_RATE], samples[5 * SAMPLE_RATE :]
    assert loud.std() > 1.5 * quiet.std()
