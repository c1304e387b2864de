"""Variants of the sequence model: what is compared, what is refused, and which vectors are corrupted."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.model_variants import compare, corrupt, variant_params
from core.errors import InputError
from core.paths import PROJECT_ROOT
from tests.support.snapshots import NIGHT, plant

PARAMS = PROJECT_ROOT / "params.yaml"
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


def test_each_variant_is_trained_and_compared_with_the_unchanged_model(tmp_path: Path) -> None:
    night = plant(tmp_path / "night", users=30, videos=40)
    args = argparse.Namespace(
        workspace=night.workspace,
        night=str(NIGHT),
        params=PARAMS,
        variants=["reliability=true", "token_budget=3"],
        epochs=1,
        corrupt=None,
        share=0.5,
    )
    (tmp_path / "work").mkdir()
    figures = compare(args, tmp_path / "work")
    assert list(figures) == ["unchanged", "reliability=true", "token_budget=3"]
    assert figures["unchanged"]["minus_unchanged"]["mean"] == 0
    assert figures["token_budget=3"]["interactions"] < figures["unchanged"]["interactions"]
    args.variants, args.corrupt = ["reliability=true"], "audio"
    (tmp_path / "corrupted").mkdir()
    figures = compare(args, tmp_path / "corrupted")
    assert 0 < figures["reliability=true"]["reliability_of_wrong"] < 1
    assert "reliability_of_wrong" not in figures["unchanged"]


def test_an_unknown_key_or_value_of_a_variant_is_refused() -> None:
    for variant, message in (("fusionn=late", "unknown key"), ("fusion=middle", "train.model.fusion")):
        with pytest.raises(InputError, match=f"variant {variant}.*{message}"):
            variant_params(PARAMS, variant, None)
    with pytest.raises(InputError, match="--variants: 'late' has no value; write KEY=VALUE"):
        variant_params(PARAMS, "late", None)
