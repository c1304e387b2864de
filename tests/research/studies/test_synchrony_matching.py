import json
import sys
from pathlib import Path

import numpy as np
import pytest

from core.errors import REFUSED_INPUT
from research.studies import synchrony_matching
from research.studies.synchrony_matching import Clip, main, matching, planted_clips, weighted_auc
from research.synchrony.measure import FRAMES
from tests.support.media_files import write_flashes

BEATS = list(np.arange(5, 35) ** 1.4 / 15)


def test_the_auc_counts_pairs() -> None:
    value, matched = np.array([3.0, 1.0, 2.0, 2.0]), np.array([True, True, False, False])
    assert weighted_auc(value, matched, np.ones(4)) == 0.5
    assert weighted_auc(value, matched, np.array([3, 1, 1, 1])) == 0.75
    assert weighted_auc(np.ones(4), matched, np.ones(4)) == 0.5  # ties
    assert np.isnan(weighted_auc(value, np.ones(4, bool), np.ones(4)))


@pytest.mark.parametrize(("nuisance", "low", "high"), [("none", 0.95, 1.0), ("shake", 0.3, 0.95)])
def test_planted_scenes_match_their_sound(nuisance: str, low: float, high: float) -> None:
    forms = {"frames": FRAMES}
    clips = planted_clips(5, nuisance, forms)
    result = matching(clips, forms, 5.0)
    assert (result["clips"], result["windows"]) == (5, 20)
    measured = result["frames"]
    assert isinstance(measured, dict)
    auc = measured["no delay"]
    assert low <= auc["auc"] <= high
    assert auc["low"] <= auc["auc"] <= auc["high"]
    assert matching(planted_clips(5, nuisance, forms), forms, 5.0) == result


def test_sound_of_another_video_does_not_match() -> None:
    forms = {"frames": FRAMES}
    clips = planted_clips(6, "none", forms)
    shifted = [Clip(a.motion, b.samples) for a, b in zip(clips, clips[1:] + clips[:1], strict=True)]
    measured = matching(shifted, forms, 5.0)["frames"]
    assert isinstance(measured, dict)
    assert 0.3 < measured["no delay"]["auc"] < 0.7


def test_the_study_reads_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        beats = [beat + 0.3 * number for beat in BEATS]
        write_flashes(tmp_path / f"v{number}.mp4", beats, beats, seconds=10)
    (tmp_path / "bad.mp4").write_bytes(b"garbage" * 100)
    monkeypatch.setattr(synchrony_matching, "GROUPS", (2,))
    monkeypatch.setattr(sys, "argv", ["study", str(tmp_path)])
    assert main() == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]["videos"]
    assert (figures["clips"], figures["windows"]) == (2, 4)
    assert set(figures) == {"clips", "windows", "frames", "embeddings, 2"}
    assert figures["frames"]["no delay"]["auc"] > 0.9


def test_a_path_that_does_not_exist_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["study", "gone.mp4"])
    assert main() == REFUSED_INPUT
    assert "synchrony_matching: refused: gone.mp4 does not exist" in capsys.readouterr().err
