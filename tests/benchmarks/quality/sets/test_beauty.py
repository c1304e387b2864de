"""Beauty: the metrics of every model, and the published figure of popularity on the real data."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.quality.sets import beauty
from benchmarks.quality.sets.beauty import evaluate_popularity_with_favourable_ties
from core.schema import replace_nested
from datasets.beauty import read_split
from tests.support.releases import write_beauty


def test_popularity_gives_the_published_figures(shared_data: Path) -> None:
    split = read_split(shared_data / "beauty")
    metrics = evaluate_popularity_with_favourable_ties(split).mean_metrics()
    assert (metrics["recall@10"], metrics["ndcg@10"]) == (0.0120, 0.0056)


def test_every_model_has_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty users cycle through ten items, so a model that reads the order can predict the next item."""
    lines = [f"{u} " + " ".join(str(1 + (u + i) % 10) for i in range(7)) for u in range(1, 41)]
    monkeypatch.setattr(
        beauty, "TRAIN_CONFIG", replace_nested(beauty.TRAIN_CONFIG, {"epochs": 30, "model.dropout": 0.0})
    )
    monkeypatch.setattr(beauty, "DROPOUT", 0.0)
    short_trainings = {
        name: replace(config, epochs=8, batch_size=8) for name, config in beauty.HYPERPARAMETERS.items()
    }
    monkeypatch.setattr(beauty, "HYPERPARAMETERS", short_trainings)
    figures, ratios = beauty.measure(write_beauty(tmp_path, *lines))
    assert {*beauty.HYPERPARAMETERS, "undercurrent"} < set(figures)
    assert figures["undercurrent"]["ndcg@10"] > 0.9
    assert figures["sasrec"]["ndcg@10"] > 0.9
    assert figures["popularity"]["ndcg@10"] < 0.9
    assert ratios["undercurrent_over_iclrec_ndcg@10"] == pytest.approx(
        figures["undercurrent"]["ndcg@10"] / 0.0403, abs=0.01
    )
