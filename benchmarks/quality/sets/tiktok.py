"""TikTok as DiffMM published it: predict a user's other videos, with the split of the release.

datasets/tiktok.py describes the split. The data has no times, so models that read an order are left out.
MF-BPR and LightGCN use their trained user vectors, as published. Results with fold-in, as a night computes
the vectors, are reported too.
"""

from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.quality.sets.protocol import (
    NO_RERANK,
    ModelResult,
    compute_result,
    evaluate_model,
    log_progress,
    make_model_config,
    mean_over_seeds,
    paired_difference,
    train_baseline,
    train_interest_model,
)
from core.config.model_half import TrainConfig
from core.config.models import InterestModelConfig, ObjectiveConfig
from datasets.split import SplitDataset
from datasets.tiktok import read_split
from models.baselines.baseline import IdVocabulary
from models.baselines.lightgcn import LightGCN
from models.baselines.mf_bpr import MFBPR
from models.config import ModelConfig
from models.retrieval.full_ranking import target_ranks, users_per_chunk
from models.training.baselines import BaselineTrainingConfig

WIDTH, CUTOFFS = 64, (10, 20)
SEEDS = (1, 2, 3)
HYPERPARAMETERS = {
    "popularity": BaselineTrainingConfig(1, 1, 1024, 0.001, 0.0, 5.0, 1),
    "itemcf": BaselineTrainingConfig(1, 1, 1024, 0.001, 0.0, 5.0, 1),
    "mf_bpr": BaselineTrainingConfig(100, 10, 256, 0.003, 0.1, 5.0, 1),
    "lightgcn": BaselineTrainingConfig(100, 10, 1024, 0.003, 0.0, 5.0, 1),
}
# A user is a set: the encoder takes the mean of the sequence, whose order is random, and any other video may
# be the target.
TRAIN_CONFIG = TrainConfig(
    model=InterestModelConfig(
        name="interest", fusion="uniform", normalisation="fixed", reliability=False,
        encoder="mean", layers=1, heads=1, dropout=0.2, positions=False,
        profile=False, contexts=(), item_features=(), item_attributes=(), max_length=50, token_budget=0,
        skip_watch_ratio=0.2, warmup_epochs=1, sources=("popularity", "random_walk"), rerank=NO_RERANK,
        playback_signals=False, request_contexts=(),
        objective=ObjectiveConfig(
            ranking_weight=0.0, align_weight=0.0, anchor_weight=0.0, num_negatives=0, id_dropout=0.0,
            horizon=1000, recency_half_life_days=0.0,
        ),
    ),
    epochs=10, patience=3, batch_size=256, batch_by="users", learning_rate=0.0005, weight_decay=0.01,
    clip_norm=5.0, device="auto", precision="auto", seed=1,
)  # fmt: skip
# Recall@20 and NDCG@20.
PUBLISHED = {
    "popularity": (0.0597, 0.0255),
    "mf_bpr": (0.0346, 0.0130),
    "lightgcn": (0.0653, 0.0282),
    "diffmm": (0.1129, 0.0456),
}  # fmt: skip


def measure(path: Path) -> tuple[dict, dict]:
    """Train and evaluate the model (visual and audio) and the baselines.

    Args:
        path: folder of the release.

    Returns:
        Recall@k and NDCG@k with the published values, and the ratios to them.

    Raises:
        InputError: the release is missing or malformed.
    """
    dataset = read_split(path)
    runs: dict[str, list[ModelResult]] = {}
    for seed in SEEDS:
        results = _evaluate_baselines(dataset, seed) | {
            "undercurrent": evaluate_model(
                train_interest_model(dataset, _base_config(dataset), replace(TRAIN_CONFIG, seed=seed)),
                dataset,
            )
        }
        for name, result in results.items():
            runs.setdefault(name, []).append(result)
            log_progress(seed, name, result.mean_metrics(CUTOFFS))
    figures: dict = {
        "published_recall@20_ndcg@20": {name: list(metrics) for name, metrics in PUBLISHED.items()}
    }
    figures |= {
        name: mean_over_seeds(run, CUTOFFS) | {"training": run[0].training_summary()}
        for name, run in runs.items()
    }
    figures["seeds"] = len(SEEDS)
    figures["undercurrent_minus"] = {
        name: {
            metric: paired_difference(runs["undercurrent"], run, metric)
            for metric in ("recall@20", "ndcg@20")
        }
        for name, run in runs.items()
        if name != "undercurrent"
    }
    ratios = {
        f"{name}_over_published_recall@20": round(figures[name]["recall@20"] / PUBLISHED[name][0], 3)
        for name in HYPERPARAMETERS if name in PUBLISHED
    }  # fmt: skip
    recall = figures["undercurrent"]["recall@20"]
    ratios |= {
        f"undercurrent_over_{n}_recall@20": round(recall / value, 3) for n, (value, _) in PUBLISHED.items()
    }
    return figures, ratios


def _evaluate_baselines(dataset: SplitDataset, seed: int) -> dict[str, ModelResult]:
    base_config, results = _base_config(dataset), {}
    for name, hyperparameters in HYPERPARAMETERS.items():
        trained = train_baseline(name, dataset, base_config, replace(hyperparameters, seed=seed))
        results[name] = evaluate_model(trained, dataset)
        if isinstance(trained.model, MFBPR | LightGCN):
            results[f"{name}_folded_in"] = results[name]
            results[name] = evaluate_trained_users(trained.model, dataset, trained.curve)
    return results


def _base_config(dataset: SplitDataset) -> ModelConfig:
    return make_model_config(int((dataset.item_table.id_row_V >= 0).sum()), WIDTH, 1, 1, 0.0, 1 << 20)


@torch.no_grad()
def evaluate_trained_users(
    model: MFBPR | LightGCN, dataset: SplitDataset, curve: list[dict[str, float]]
) -> ModelResult:
    """Evaluate a baseline on the test targets with its trained user vectors instead of fold-in."""
    targets, vocabulary, rank_chunks = dataset.test.targets, IdVocabulary(dataset.item_table.id_row_V), []
    for users_B in targets.users.split(users_per_chunk(len(vocabulary.id_row_V))):
        score_BV, _ = model.eval().score_items(model.encode_training_user(users_B), vocabulary)
        seen_BV = dataset.test.seen_items.mask(users_B, len(vocabulary.id_row_V))
        rank_chunks.append(
            target_ranks(score_BV.masked_fill(seen_BV, -torch.inf), *targets.for_users(users_B))
        )
    return compute_result(torch.cat(rank_chunks), targets, curve)
