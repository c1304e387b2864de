"""MovieLens: the metrics of every model, and the effect of the profile on cold users."""

from pathlib import Path

import pytest
import torch

from benchmarks.quality.sets import movielens
from core.schema import replace_nested
from tests.support.releases import write_movielens


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = lambda films: torch.eye(2)[torch.arange(len(films)) % 2]  # noqa: E731 - no encoder
    monkeypatch.setattr(movielens, "embed_texts", lambda films: (vectors(films), torch.ones(len(films)) > 0))


def test_every_model_and_the_effect_of_the_profile_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movielens, "SEEDS", (1, 2))
    few = dict.fromkeys(movielens.HYPERPARAMETERS, (6, 6, 16, 0.005, 0.0))
    monkeypatch.setattr(movielens, "HYPERPARAMETERS", few)
    train_config, longer = (
        movielens.train_config,
        {"epochs": 30, "patience": 30, "learning_rate": 0.01, "model.objective.num_negatives": 0},
    )
    monkeypatch.setattr(movielens, "train_config", lambda *a: replace_nested(train_config(*a), longer))
    figures, ratios = movielens.measure(write_movielens(tmp_path))
    assert {*few, "undercurrent", "undercurrent_without_profile"} < set(figures)
    assert 0 < figures["cold_users"] < figures["users"]
    assert figures["undercurrent_minus"]["sasrec"]["all"]["num_users"] == figures["users"]
    # Only the profile predicts new users, because women and men like different films.
    assert figures["undercurrent_minus"]["undercurrent_without_profile"]["cold"]["low"] > 0
    assert ratios["cold_users_with_profile_over_without"] > 1.15
