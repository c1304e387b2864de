from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from media.clip import Clip, Sampling, Synchrony
from media.decode import decode
from media.synchrony import MAX_DELAY, SOUND_RATE, correlations, measure
from tests.media.files import plain, write_flashes, write_video

BOTH = Sampling(5, 40, 2, 32, "shortest", 16_000, synchrony=True)
ALONE = Sampling(5, 40, 2, None, "shortest", None, synchrony=True)


def _moments(seed: int, seconds: float = 10.0) -> np.ndarray:
    """Random moments, some 1.5 a second, on the frames of 25 a second."""
    draw = np.random.default_rng(seed)
    return np.sort(draw.choice(np.arange(10, round(seconds * 25) - 25), round(seconds * 1.5), False)) / 25


def _of(path: Path, sampling: Sampling = BOTH) -> Synchrony:
    found = decode(path, sampling).synchrony
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(3))
def test_clicks_at_the_moments_of_the_flashes_are_together(tmp_path, seed):
    found = _of(write_flashes(tmp_path / "v.mp4", _moments(seed), _moments(seed)))
    assert found.together > 0.7
    assert (found.delay_ms, found.best) == (0, found.together)


@pytest.mark.parametrize("delay_ms", [400, -400, 900])
def test_clicks_that_come_later_are_together_at_that_delay(tmp_path, delay_ms):
    moments = _moments(1)
    found = _of(write_flashes(tmp_path / "v.mp4", moments, moments + delay_ms / 1000, seconds=12))
    assert found.delay_ms == delay_ms
    assert found.best > 0.6
    assert found.together < 0.35


def test_clicks_at_other_moments_are_not_together(tmp_path):
    found = [
        _of(write_flashes(tmp_path / f"{seed}.mp4", _moments(seed), _moments(seed + 10))) for seed in range(4)
    ]
    assert all(abs(one.together) < 0.4 and one.best < 0.5 for one in found)
    assert abs(np.mean([one.together for one in found])) < 0.2


@pytest.mark.parametrize("rate", [10, 15, 30, 60])
def test_the_frame_rate_does_not_matter(tmp_path, rate):
    moments = np.round(_moments(2) * 10) / 10
    found = _of(write_flashes(tmp_path / "v.mp4", moments, moments, rate=rate))
    assert found.together > 0.6
    assert found.delay_ms == 0


def _silent(path: Path) -> Path:
    return write_flashes(path, _moments(0), [])


def _mute(path: Path) -> Path:
    return write_video(path, seconds=4, hertz=None)


def _still(path: Path) -> Path:
    return write_video(path, seconds=4, picture=lambda _: plain((90, 90, 90)))


def _short(path: Path) -> Path:
    return write_flashes(path, [0.5, 1.0], [0.5, 1.0], seconds=1.5)


def _blind(path: Path) -> Path:
    return write_video(path, seconds=4, picture=None)


@pytest.mark.parametrize("make", [_silent, _mute, _still, _short, _blind])
def test_silence_no_sound_a_still_picture_none_and_a_short_video_are_unknown(tmp_path, make):
    assert decode(make(tmp_path / "v.mp4"), BOTH).synchrony is None


def test_it_is_the_same_whatever_else_is_wanted_and_unknown_where_it_is_not_wanted(tmp_path):
    path = write_flashes(tmp_path / "v.mp4", _moments(0), _moments(0))
    alone = decode(path, ALONE)
    assert alone == Clip({}, {}, _of(path))
    assert decode(path, Sampling(5, 40, 2, 32, "shortest", 16_000)).synchrony is None


def test_pictures_and_sound_are_the_same_with_and_without_it(tmp_path):
    path = write_flashes(tmp_path / "v.mp4", _moments(0), _moments(0))
    with_it, without = decode(path, BOTH), decode(path, Sampling(5, 40, 2, 32, "shortest", 16_000))
    for ours, theirs in ((with_it.frames, without.frames), (with_it.sound, without.sound)):
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[n], theirs[n]) for n in ours)


def test_only_what_the_grid_of_segments_covers_counts(tmp_path):
    first, then = _moments(0, 10), 10 + _moments(1, 10)
    path = write_flashes(tmp_path / "v.mp4", [*first, *then], [*first, *(10 + _moments(7, 10))], seconds=20)
    first_half = Sampling(5, 2, 2, 32, "shortest", 16_000, synchrony=True)
    assert _of(path, first_half).together > _of(path).together + 0.2


@pytest.mark.shared_data
def test_real_clips_are_measured_and_always_alike(shared_data: Path):
    clips = sorted((shared_data / "media" / "clean").iterdir())
    found = {
        path.name: decode(path, ALONE).synchrony for path in clips if path.suffix in (".mp4", ".mkv", ".webm")
    }
    known = {name: one for name, one in found.items() if one is not None}
    assert len(known) > 5
    assert all(-1 <= one.together <= one.best <= 1 and abs(one.delay_ms) <= 1000 for one in known.values())
    name = next(iter(known))
    assert decode(shared_data / "media" / "clean" / name, ALONE).synchrony == known[name]


SERIES = arrays(float, st.integers(20, 60), elements=st.floats(0, 10).map(lambda value: round(value, 2)))


@given(SERIES, st.floats(0.1, 5), st.floats(-3, 3))
def test_correlations_are_bounded_know_neither_scale_nor_level_and_are_one_with_oneself(a_T, scale, level):
    fit_L = correlations(a_T, a_T)
    if fit_L is None:
        assert np.ptp(a_T) < 1e-4
        return
    assert fit_L[MAX_DELAY] == pytest.approx(1)
    assert np.abs(fit_L).max() <= 1 + 1e-9
    assert correlations(a_T, scale * a_T + level) == pytest.approx(fit_L, abs=1e-6)


@given(SERIES, st.randoms(use_true_random=False))
def test_to_exchange_the_two_is_to_turn_time_around(a_T, random):
    b_T = np.array(random.sample(list(a_T), len(a_T)))
    fit_L, turned_L = correlations(a_T, b_T), correlations(b_T, a_T)
    assert (fit_L is None) == (turned_L is None)
    if fit_L is not None and turned_L is not None:
        assert fit_L == pytest.approx(turned_L[::-1], abs=1e-9)


def test_nothing_at_all_is_unknown():
    nothing = np.zeros(0)
    assert measure(nothing, nothing, np.zeros(0, np.float32)) is None
    assert measure(np.arange(50) / 10, np.ones(50), np.zeros(5 * SOUND_RATE, np.float32)) is None
