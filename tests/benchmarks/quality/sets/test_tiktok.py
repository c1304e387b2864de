"""TikTok: the metrics of every model, and the published figure of popularity on the real data."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.quality.sets import tiktok
from benchmarks.quality.sets.protocol import (
    evaluate_model,
    make_model_config,
    train_baseline,
    train_interest_model,
)
from datasets.tiktok import read_split
from models.interest_model import InterestModel
from tests.support.releases import tiktok_pairs_of_two_groups, write_tiktok


def test_popularity_gives_the_published_figures(shared_data: Path) -> None:
    split = read_split(shared_data / "tiktok")
    base_config = make_model_config(int((split.item_table.id_row_V >= 0).sum()), 8, 1, 1, 0.0, 1 << 20)
    metrics = evaluate_model(
        train_baseline("popularity", split, base_config, tiktok.HYPERPARAMETERS["popularity"]), split
    ).mean_metrics()
    assert (metrics["recall@20"], metrics["ndcg@20"]) == (0.0597, 0.0255)


def test_every_model_learns_two_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        tiktok, "HYPERPARAMETERS", {n: replace(k, batch_size=8) for n, k in tiktok.HYPERPARAMETERS.items()}
    )
    few = replace(tiktok.TRAIN_CONFIG, epochs=30, patience=30, batch_size=8, learning_rate=0.01)
    monkeypatch.setattr(tiktok, "TRAIN_CONFIG", few)
    monkeypatch.setattr(tiktok, "SEEDS", (1, 2))
    figures, ratios = tiktok.measure(write_tiktok(tmp_path, tiktok_pairs_of_two_groups()))
    for name in ("itemcf", "mf_bpr", "mf_bpr_folded_in", "lightgcn", "lightgcn_folded_in"):
        assert figures[name]["ndcg@10"] > figures["popularity"]["ndcg@10"] + 0.1
    assert figures["undercurrent"]["ndcg@10"] > figures["popularity"]["ndcg@10"] + 0.1
    assert figures["seeds"] == 2
    assert figures["undercurrent_minus"]["popularity"]["ndcg@20"]["low"] > 0
    published = {f"{n}_over_published_recall@20" for n in ("popularity", "mf_bpr", "lightgcn")}
    assert set(ratios) == published | {f"undercurrent_over_{n}_recall@20" for n in tiktok.PUBLISHED}


def test_the_final_ranker_is_fitted_with_the_random_walk(tmp_path: Path) -> None:
    split = read_split(write_tiktok(tmp_path, tiktok_pairs_of_two_groups()))
    config = replace(tiktok.TRAIN_CONFIG, epochs=1)
    model = train_interest_model(split, tiktok._base_config(split), config).model
    assert isinstance(model, InterestModel)
    assert list(model.sources) == ["popularity", "random_walk"]
    assert model.final_ranker.weight_S[2] > 0.1
