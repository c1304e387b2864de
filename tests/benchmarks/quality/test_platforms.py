from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks.quality.platforms import PLATFORMS, SMALL, summarise, write_params
from core.baselines import BASELINE_LABELS
from core.config import load_params


def per_user(ours: float, best: float) -> dict:
    rng = np.random.default_rng(1)
    noise = rng.normal(scale=0.01, size=200)
    others = {name: np.zeros(200) for name in BASELINE_LABELS}
    return {"ours": ours + noise, **others, "ease_trending": np.full(200, best)}


def test_the_best_baseline_is_the_reference():
    result = summarise([per_user(0.3, 0.2), per_user(0.3, 0.2)])
    best = result["best"]["counted"]
    assert best["name"] == "ease_trending"
    assert best["mean"] == pytest.approx(0.1, abs=0.01)
    assert best["low"] > 0
    assert "learned" not in result["best"]
    assert result["user_nights"] == 200
    assert result["seeds"] == 2


def test_a_model_behind_a_baseline_has_an_interval_below_0():
    assert summarise([per_user(0.1, 0.2)])["best"]["counted"]["high"] < 0


def test_learned_baselines_have_a_reference_of_their_own():
    learned = {"sasrec": np.full(200, 0.25), "esasrec": np.full(200, 0.15)}
    best = summarise([per_user(0.3, 0.2) | learned])["best"]
    assert best["counted"]["name"] == "ease_trending"
    assert best["learned"]["name"] == "sasrec"
    assert best["learned"]["mean"] == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_small_platform_has_the_mechanism_and_the_small_size(tmp_path, platform):
    path = write_params(platform, tmp_path, small=True)
    params = load_params(path)
    full = load_params(Path(yaml.safe_load(path.read_text())["base"]))
    assert params.simulator.mechanism == full.simulator.mechanism
    assert params.simulator.users == SMALL["users"] < full.simulator.users
