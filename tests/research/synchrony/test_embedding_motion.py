from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.synchrony.embedding_motion import LEVELS, embedding_form, group_changes
from research.synchrony.measure import FRAMES, Synchrony, measure_video, read_motion_and_sound
from tests.support.media_files import plain, write_flashes, write_video


def brightness(images: list[np.ndarray]) -> np.ndarray:
    """A unit vector whose angle is the brightness: black and white are orthogonal."""
    angle = np.array([image.mean() for image in images]) / 255 * np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


BEATS = list(np.arange(5, 35) ** 1.4 / 15)


@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("delay_ms", [0, 400])
def test_clicks_at_changes_are_synchronous(tmp_path: Path, group: int, delay_ms: int) -> None:
    path = write_flashes(tmp_path / "v.mp4", BEATS, [beat + delay_ms / 1000 for beat in BEATS], seconds=12)
    synchrony = measure_video(path, 60.0, form=embedding_form(brightness, 16, group))
    assert isinstance(synchrony, Synchrony)
    assert synchrony.best_delay_ms == delay_ms
    assert synchrony.best_correlation > 0.4


def test_a_video_whose_embeddings_stay_is_unknown(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", seconds=4, picture=lambda t: plain((90 + int(20 * t),) * 3))
    still = embedding_form(lambda images: np.tile([1.0, 0.0], (len(images), 1)), 16, 1)
    assert measure_video(path, 60.0, form=still) is None
    assert measure_video(path, 60.0, form=embedding_form(brightness, 16, 1)) is not None


@pytest.mark.parametrize(("rate", "images"), [(10, 40), (25, 80), (60, 80)])
def test_an_image_is_taken_every_twentieth_of_a_second(tmp_path: Path, rate: int, images: int) -> None:
    path = write_flashes(tmp_path / "v.mp4", [1.0], [1.0], seconds=4, rate=rate)
    seconds_N, motion_N, _ = read_motion_and_sound(path, 60.0, form=embedding_form(brightness, 16, 1))
    assert len(seconds_N) == images
    assert abs(seconds_N[motion_N.argmax()] - 1.0) <= 0.05
    assert len(read_motion_and_sound(path, 60.0, form=FRAMES)[0]) == 4 * rate


def test_a_group_averages_out_a_flicker_and_keeps_a_cut() -> None:
    flicker = np.tile([[1.0, 0.0], [0.0, 1.0]], (10, 1))
    cut = np.repeat([[1.0, 0.0], [0.0, 1.0]], 10, axis=0)
    assert group_changes(flicker, 1)[1:] == pytest.approx(np.sqrt(2))
    assert group_changes(flicker, 4)[4:-4].max() < 1e-9
    assert group_changes(cut, 4).argmax() == 10
    assert group_changes(cut, 4).max() == pytest.approx(np.sqrt(2))
    assert group_changes(cut, 4)[[5, 15]] == pytest.approx(0)


@given(st.integers(0, 12), st.integers(1, 20), st.integers(0, 99))
def test_changes_are_bounded_and_symmetric_in_time(count: int, group: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    changes = group_changes(vectors, group)
    assert len(changes) == count
    assert ((changes >= 0) & (changes <= 2 + 1e-9)).all()
    assert group_changes(vectors[::-1], group)[1:] == pytest.approx(changes[1:][::-1])


def test_the_form_scales_to_levels() -> None:
    images = np.stack([plain((0, 0, 0), 16, 16), plain((255, 255, 255), 16, 16)])
    assert embedding_form(brightness, 16, 1).motion(images) == pytest.approx([0, LEVELS * np.sqrt(2)])
