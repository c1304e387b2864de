from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.one_recipe import SeedResult, run_seed, summarise
from datasets.leave_last_out import split_leave_last_out

# Each user follows the cycle 0, 1, …, 39. So the last video tells the next one.
CYCLES = [[(user + i) % 40 for i in range(7)] for user in range(120)]


def test_the_steps_train_on_a_published_split_and_beat_popularity(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    overlay = "{}\nalign: {{width: 16}}\ntrain: {{epochs: 12, patience: 12}}\n"
    params.write_text(overlay.format(f"base: {Path(__file__).parents[3] / 'params.yaml'}"))
    figures, ratios = summarise({3: run_seed(split_leave_last_out(CYCLES), params, 3)})
    assert figures["users"] == 120
    assert figures["challenger"]["ndcg@10"] > figures["popularity"]["ndcg@10"] + 0.2
    assert ratios["challenger_over_popularity"] > 2


def test_metrics_are_means_over_the_seeds() -> None:
    def result(ours: list[float]) -> SeedResult:
        metrics = {"challenger": {"ndcg@10": sum(ours) / len(ours)}, "trending": {"ndcg@10": 0.25}}
        return SeedResult(metrics, {"challenger": np.array(ours), "trending": np.full(len(ours), 0.25)})

    figures, ratios = summarise({1: result([0.2, 0.4, 0.6]), 2: result([0.4, 0.6, 0.8])})
    assert figures["challenger"] == {"ndcg@10": 0.5}
    assert figures["challenger_by_seed"] == {1: {"ndcg@10": 0.4}, 2: {"ndcg@10": 0.6}}
    difference = figures["differences_of_ndcg@10"]["trending"]
    assert difference["mean"] == pytest.approx(0.25)
    assert difference["low"] < 0.25 < difference["high"]
    assert ratios == {"challenger_over_trending": 2.0}
