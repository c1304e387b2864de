import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from core.errors import REFUSED_INPUT
from research.studies import synchrony_matching
from research.studies.synchrony_matching import Clip, main, matching, planted_clips, weighted_auc
from tests.support.media_files import write_flashes

BEATS = list(np.arange(5, 35) ** 1.4 / 15)


def test_the_auc_counts_pairs() -> None:
    value, matched = np.array([3.0, 1.0, 2.0, 2.0]), np.array([True, True, False, False])
    assert weighted_auc(value, matched, np.ones(4)) == 0.5
    assert weighted_auc(value, matched, np.array([3, 1, 1, 1])) == 0.75
    assert weighted_auc(np.ones(4), matched, np.ones(4)) == 0.5  # ties
    assert np.isnan(weighted_auc(value, np.ones(4, bool), np.ones(4)))


def colours(images: Sequence[np.ndarray]) -> np.ndarray:
    """Unit vectors of the mean colours. Shaking does not change them."""
    vectors = np.stack([image.mean((0, 1)) for image in images])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("form", synchrony_matching.FORMS[:2])
def test_planted_scenes_match_their_sound(form: str) -> None:
    result = matching(planted_clips(5, "none", colours), 5.0)
    assert (result["clips"], result["windows"]) == (5, 20)
    auc = result[form]["no delay"]
    assert auc["auc"] > 0.95
    assert auc["low"] <= auc["auc"] <= auc["high"] <= 1
    assert matching(planted_clips(5, "none", colours), 5.0) == result


def test_a_shaking_camera_hides_scenes_from_pixels_only() -> None:
    result = matching(planted_clips(5, "shake", colours), 5.0)
    assert result["frames"]["no delay"]["auc"] < result["embeddings of 1"]["no delay"]["auc"] > 0.95


def test_sound_of_another_video_does_not_match() -> None:
    clips = planted_clips(6, "none", colours)
    shifted = [Clip(a.motion, b.samples) for a, b in zip(clips, clips[1:] + clips[:1], strict=True)]
    assert 0.3 < matching(shifted, 5.0)["frames"]["no delay"]["auc"] < 0.7


def test_the_study_reads_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        beats = [beat + 0.3 * number for beat in BEATS]
        write_flashes(tmp_path / f"v{number}.mp4", beats, beats, seconds=11)
    (tmp_path / "bad.mp4").write_bytes(b"garbage" * 100)
    monkeypatch.setattr(sys, "argv", ["study", str(tmp_path)])
    assert main() == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]["videos"]
    assert (figures["clips"], figures["windows"]) == (2, 4)
    assert set(figures) == {"clips", "windows", *synchrony_matching.FORMS}
    assert figures["frames"]["no delay"]["auc"] > 0.9


def test_a_path_that_does_not_exist_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["study", "gone.mp4"])
    assert main() == REFUSED_INPUT
    assert "synchrony_matching: refused: gone.mp4 does not exist" in capsys.readouterr().err
