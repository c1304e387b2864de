from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from media.clip import DecodeLimits, UnreadableMedia
from research.synchrony.measure import (
    MAX_DELAY_STEPS,
    SYNCHRONY_SAMPLE_RATE,
    Synchrony,
    cross_correlation,
    measure_synchrony,
    measure_video,
)
from tests.support.media_files import plain, write_flashes, write_video

SECONDS = 200.0


def _random_times(seed: int, seconds: float = 10.0) -> np.ndarray:
    """Return random times, about 1.5 per second, at frames of a video with 25 frames per second."""
    generator = np.random.default_rng(seed)
    return (
        np.sort(generator.choice(np.arange(10, round(seconds * 25) - 25), round(seconds * 1.5), False)) / 25
    )


def _measure(path: Path, seconds: float = SECONDS) -> Synchrony:
    synchrony = measure_video(path, seconds)
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


def _still(path: Path) -> Path:
    return write_video(path, seconds=4, picture=lambda _: plain((90, 90, 90)))


def _short(path: Path) -> Path:
    return write_flashes(path, [0.5, 1.0], [0.5, 1.0], seconds=1.5)


@pytest.mark.parametrize("make", [_silent, _still, _short])
def test_synchrony_is_unknown_without_motion_and_sound(tmp_path, make):
    assert measure_video(make(tmp_path / "v.mp4"), SECONDS) is None


def test_a_file_of_one_stream_names_the_missing_one(tmp_path):
    for missing in ("audio", "video"):
        without = {"hertz": None} if missing == "audio" else {"picture": None}
        path = write_video(tmp_path / f"{missing}.mp4", seconds=4, **without)
        with pytest.raises(UnreadableMedia, match=f"no_{missing}_stream: the file has no {missing} stream"):
            measure_video(path, SECONDS)


def test_a_file_beyond_the_limits_is_refused(tmp_path):
    path = write_video(tmp_path / "v.mp4")
    for limit, reason in (
        ({"max_file_bytes": 100}, "too_large"),
        ({"max_duration_seconds": 1}, "too_long"),
        ({"max_pixels": 100}, "too_many_pixels"),
    ):
        with pytest.raises(UnreadableMedia, match=reason):
            measure_video(path, SECONDS, DecodeLimits(60, 1 << 31, **limit))


def test_a_damaged_file_is_refused(tmp_path):
    path = write_flashes(tmp_path / "v.mp4", _random_times(0), _random_times(0))
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + 1000
    content[middle : middle + 3000] = b"\xff" * 3000
    path.write_bytes(content)
    with pytest.raises(UnreadableMedia, match="decode_error"):
        measure_video(path, SECONDS)


def test_only_the_first_seconds_are_measured(tmp_path):
    first, then = _random_times(0, 10), 10 + _random_times(1, 10)
    path = write_flashes(
        tmp_path / "v.mp4", [*first, *then], [*first, *(10 + _random_times(7, 10))], seconds=20
    )
    assert _measure(path, 10).correlation > _measure(path).correlation + 0.2


@pytest.mark.shared_data
def test_synchrony_of_real_clips_is_deterministic(shared_data: Path):
    for name in ("1002.mp4", "10034.mp4"):
        path = shared_data / "media" / "clean" / name
        synchrony = _measure(path)
        assert -1 <= synchrony.correlation <= synchrony.best_correlation <= 1
        assert abs(synchrony.best_delay_ms) <= 1000
        assert _measure(path) == synchrony


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
