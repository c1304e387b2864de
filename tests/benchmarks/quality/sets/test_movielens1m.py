"""MovieLens-1M: the metrics of every model, and the value of the profile."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.quality.sets import movielens1m
from core.schema import replace_nested
from tests.support.releases import write_movielens1m


def test_every_model_has_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty users cycle through ten films, so a model that reads the order can predict the next film."""
    vectors = lambda films: torch.eye(2)[torch.arange(len(films)) % 2]  # noqa: E731 - no encoder
    monkeypatch.setattr(
        movielens1m, "embed_texts", lambda films: (vectors(films), torch.ones(len(films)) > 0)
    )
    monkeypatch.setattr(
        movielens1m,
        "TRAIN_CONFIG",
        replace_nested(movielens1m.TRAIN_CONFIG, {"epochs": 20, "batch_size": 16, "model.dropout": 0.0}),
    )
    monkeypatch.setattr(movielens1m, "DROPOUT", 0.0)
    short_trainings = {
        name: replace(config, epochs=8, batch_size=8) for name, config in movielens1m.HYPERPARAMETERS.items()
    }
    monkeypatch.setattr(movielens1m, "HYPERPARAMETERS", short_trainings)
    lines = [f"{u} " + " ".join(str(1 + (u + i) % 10) for i in range(7)) for u in range(1, 41)]
    figures, ratios = movielens1m.measure(write_movielens1m(tmp_path, *lines))
    models = {*movielens1m.HYPERPARAMETERS, "undercurrent", "undercurrent_ids_only"}
    assert set(figures) == {*models, "undercurrent_minus"}
    assert set(figures["undercurrent_minus"]) == models - {"undercurrent"}
    for name in ("sasrec", "esasrec", "undercurrent", "undercurrent_ids_only"):
        assert figures[name]["ndcg@10"] > 0.9 > figures["popularity"]["ndcg@10"]
    assert ratios["esasrec_over_published_esasrec_ndcg@10"] == pytest.approx(
        figures["esasrec"]["ndcg@10"] / 0.1772, abs=0.01
    )
