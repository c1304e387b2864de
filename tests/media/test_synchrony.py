from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from media.clip import DecodedVideo, SamplingConfig, Synchrony
from media.decode import decode_video
from media.synchrony import MAX_DELAY_STEPS, SYNCHRONY_SAMPLE_RATE, cross_correlation, measure_synchrony
from tests.support.media_files import plain, write_flashes, write_video

FULL_SAMPLING = SamplingConfig(5, 40, 2, 32, "shortest", 16_000, synchrony=True)
SYNCHRONY_ONLY = SamplingConfig(5, 40, 2, None, "shortest", None, synchrony=True)


def _random_times(seed: int, seconds: float = 10.0) -> np.ndarray:
    """Return random times, about 1.5 per second, at frames of a video with 25 frames per second."""
    generator = np.random.default_rng(seed)
    return (
        np.sort(generator.choice(np.arange(10, round(seconds * 25) - 25), round(seconds * 1.5), False)) / 25
    )


def _measure(path: Path, sampling: SamplingConfig = FULL_SAMPLING) -> Synchrony:
    synchrony = decode_video(path, sampling).synchrony
    assert synchrony is not None
    return synchrony


@pytest.mark.parametrize("seed", range(3))
def test_clicks_at_the_flashes_are_synchronous(tmp_path, seed):
    synchrony = _measure(write_flashes(tmp_path / "v.mp4", _random_times(seed), _random_times(seed)))
    assert synchrony.correlation > 0.7
    assert (synchrony.best_delay_ms, synchrony.best_correlation) == (0, synchrony.correlation)


@pytest.mark.parametrize("delay_ms", [400, -400, 900])
def test_delayed_clicks_are_synchronous_at_the_delay(tmp_path, delay_ms):
    times = _random_times(1)
    synchrony = _measure(write_flashes(tmp_path / "v.mp4", times, times + delay_ms / 1000, seconds=12))
    assert synchrony.best_delay_ms == delay_ms
    assert synchrony.best_correlation > 0.6
    assert synchrony.correlation < 0.35


def test_clicks_at_other_times_are_not_synchronous(tmp_path):
    results = [
        _measure(write_flashes(tmp_path / f"{seed}.mp4", _random_times(seed), _random_times(seed + 10)))
        for seed in range(4)
    ]
    assert all(abs(synchrony.correlation) < 0.4 and synchrony.best_correlation < 0.5 for synchrony in results)
    assert abs(np.mean([synchrony.correlation for synchrony in results])) < 0.2


@pytest.mark.parametrize("rate", [10, 15, 30, 60])
def test_the_frame_rate_does_not_matter(tmp_path, rate):
    times = np.round(_random_times(2) * 10) / 10
    synchrony = _measure(write_flashes(tmp_path / "v.mp4", times, times, rate=rate))
    assert synchrony.correlation > 0.6
    assert synchrony.best_delay_ms == 0


def _silent(path: Path) -> Path:
    return write_flashes(path, _random_times(0), [])


def _mute(path: Path) -> Path:
    return write_video(path, seconds=4, hertz=None)


def _still(path: Path) -> Path:
    return write_video(path, seconds=4, picture=lambda _: plain((90, 90, 90)))


def _short(path: Path) -> Path:
    return write_flashes(path, [0.5, 1.0], [0.5, 1.0], seconds=1.5)


def _blind(path: Path) -> Path:
    return write_video(path, seconds=4, picture=None)


@pytest.mark.parametrize("make", [_silent, _mute, _still, _short, _blind])
def test_synchrony_is_unknown_without_motion_and_sound(tmp_path, make):
    assert decode_video(make(tmp_path / "v.mp4"), FULL_SAMPLING).synchrony is None


def test_synchrony_does_not_depend_on_other_requests(tmp_path):
    path = write_flashes(tmp_path / "v.mp4", _random_times(0), _random_times(0))
    alone = decode_video(path, SYNCHRONY_ONLY)
    assert alone == DecodedVideo({}, {}, _measure(path))
    assert decode_video(path, SamplingConfig(5, 40, 2, 32, "shortest", 16_000)).synchrony is None


def test_synchrony_does_not_change_frames_and_audio(tmp_path):
    path = write_flashes(tmp_path / "v.mp4", _random_times(0), _random_times(0))
    measured = decode_video(path, FULL_SAMPLING)
    unmeasured = decode_video(path, SamplingConfig(5, 40, 2, 32, "shortest", 16_000))
    for actual, expected in ((measured.frames, unmeasured.frames), (measured.audio, unmeasured.audio)):
        assert actual.keys() == expected.keys()
        assert all(np.array_equal(actual[n], expected[n]) for n in actual)


def test_synchrony_uses_the_sampled_segments_only(tmp_path):
    first, then = _random_times(0, 10), 10 + _random_times(1, 10)
    path = write_flashes(
        tmp_path / "v.mp4", [*first, *then], [*first, *(10 + _random_times(7, 10))], seconds=20
    )
    first_half = SamplingConfig(5, 2, 2, 32, "shortest", 16_000, synchrony=True)
    assert _measure(path, first_half).correlation > _measure(path).correlation + 0.2


@pytest.mark.shared_data
def test_synchrony_of_real_clips_is_deterministic(shared_data: Path):
    clips = sorted((shared_data / "media" / "clean").iterdir())
    results = {
        path.name: decode_video(path, SYNCHRONY_ONLY).synchrony
        for path in clips
        if path.suffix in (".mp4", ".mkv", ".webm")
    }
    measured = {name: synchrony for name, synchrony in results.items() if synchrony is not None}
    assert len(measured) > 5
    assert all(
        -1 <= synchrony.correlation <= synchrony.best_correlation <= 1
        and abs(synchrony.best_delay_ms) <= 1000
        for synchrony in measured.values()
    )
    name = next(iter(measured))
    assert decode_video(shared_data / "media" / "clean" / name, SYNCHRONY_ONLY).synchrony == measured[name]


SERIES = arrays(float, st.integers(20, 60), elements=st.floats(0, 10).map(lambda value: round(value, 2)))


@given(SERIES, st.floats(0.1, 5), st.floats(-3, 3))
def test_correlations_are_bounded_and_invariant_to_scale_and_level(a_T, scale, level):
    correlation_by_delay = cross_correlation(a_T, a_T)
    if correlation_by_delay is None:
        assert np.ptp(a_T) < 1e-4
        return
    assert correlation_by_delay[MAX_DELAY_STEPS] == pytest.approx(1)
    assert np.abs(correlation_by_delay).max() <= 1 + 1e-9
    assert cross_correlation(a_T, scale * a_T + level) == pytest.approx(correlation_by_delay, abs=1e-6)


@given(SERIES, st.randoms(use_true_random=False))
def test_exchanging_the_series_reverses_the_delays(a_T, random):
    b_T = np.array(random.sample(list(a_T), len(a_T)))
    correlation_by_delay, turned_L = cross_correlation(a_T, b_T), cross_correlation(b_T, a_T)
    assert (correlation_by_delay is None) == (turned_L is None)
    if correlation_by_delay is not None and turned_L is not None:
        assert correlation_by_delay == pytest.approx(turned_L[::-1], abs=1e-9)


def test_empty_series_are_unknown():
    nothing = np.zeros(0)
    assert measure_synchrony(nothing, nothing, np.zeros(0, np.float32)) is None
    assert (
        measure_synchrony(np.arange(50) / 10, np.ones(50), np.zeros(5 * SYNCHRONY_SAMPLE_RATE, np.float32))
        is None
    )
