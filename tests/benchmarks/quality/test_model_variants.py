"""Corruption of one modality: how many videos, which vectors, and nothing else."""

import numpy as np
import pytest

from benchmarks.quality.model_variants import corrupt

FEATURES = {
    "audio": np.arange(200, dtype=np.float32).reshape(50, 4),
    "audio.mask": np.arange(50) % 5 > 0,
    "text": np.ones((50, 2), np.float32),
}


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_present_vectors_is_wrong(share: float) -> None:
    corrupted, is_wrong_V = corrupt(FEATURES, "audio", share)
    assert is_wrong_V.sum() == round(share * 40)
    assert not (is_wrong_V & ~FEATURES["audio.mask"]).any()
    changed_V = (corrupted["audio"] != FEATURES["audio"]).any(1)
    assert not (changed_V & ~is_wrong_V).any()
    assert changed_V.sum() >= is_wrong_V.sum() - 3  # a video may be its own donor
    assert corrupted["audio"].dtype == np.float32
    assert corrupted["text"] is FEATURES["text"]


def test_half_of_the_wrong_vectors_are_those_of_other_videos() -> None:
    corrupted, is_wrong_V = corrupt(FEATURES, "audio", 1.0)
    known = {tuple(row) for row in FEATURES["audio"][FEATURES["audio.mask"]]}
    num_mismatched = sum(tuple(row) in known for row in corrupted["audio"][is_wrong_V])
    assert num_mismatched == 20
    assert np.array_equal(corrupted["audio"], corrupt(FEATURES, "audio", 1.0)[0]["audio"])
