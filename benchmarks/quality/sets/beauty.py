"""Beauty: predict the last item of 22,363 sequences from IDs only, with the split and figures of ICLRec.

datasets/beauty.py describes the split.
"""

from pathlib import Path

import torch

from benchmarks.quality.sets.protocol import (
    NO_RERANK,
    ModelResult,
    compute_result,
    evaluate_model,
    log_progress,
    make_model_config,
    train_baseline,
    train_interest_model,
)
from core.config.model_half import TrainConfig
from core.config.models import InterestModelConfig, ObjectiveConfig
from datasets.beauty import read_split
from datasets.split import SplitDataset
from models.baselines import popularity
from models.data.sequences import SeenItems
from models.training.baselines import BaselineTrainingConfig

WIDTH, LAYERS, HEADS, DROPOUT, MAX_LENGTH = 64, 2, 2, 0.5, 50
DEFAULT_HYPERPARAMETERS = BaselineTrainingConfig(16, 3, 64, 0.001, 0.01, 5.0, 1)
HYPERPARAMETERS = {
    "popularity": DEFAULT_HYPERPARAMETERS,
    "itemcf": DEFAULT_HYPERPARAMETERS,
    "mf_bpr": BaselineTrainingConfig(40, 5, 256, 0.003, 0.1, 5.0, 1),
    "lightgcn": BaselineTrainingConfig(80, 5, 1024, 0.01, 0.0, 5.0, 1),
    "sasrec": BaselineTrainingConfig(60, 4, 128, 0.002, 0.01, 5.0, 1, "events"),
    "bert4rec": BaselineTrainingConfig(40, 5, 128, 0.002, 0.01, 5.0, 1),
}
TRAIN_CONFIG = TrainConfig(
    model=InterestModelConfig(
        name="interest", fusion="attention", normalisation="fixed", reliability=False,
        encoder="transformer", layers=LAYERS, heads=HEADS,
        dropout=DROPOUT, positions=True, profile=False, contexts=(), item_features=(), item_attributes=(),
        max_length=MAX_LENGTH, token_budget=0, skip_watch_ratio=0.2, warmup_epochs=1,
        sources=(), rerank=NO_RERANK,
        playback_signals=False, request_contexts=(),
        objective=ObjectiveConfig(
            ranking_weight=0.0, align_weight=0.0, anchor_weight=0.0, num_negatives=0, id_dropout=0.0,
            horizon=1, recency_half_life_days=0.0,
        ),
    ),
    epochs=30, patience=4, batch_size=128, batch_by="events", learning_rate=0.002, weight_decay=0.01,
    clip_norm=5.0, device="auto", precision="bf16", seed=1,
)  # fmt: skip
PUBLISHED = {"recall@10": 0.0744, "ndcg@10": 0.0403}  # ICLRec; its own checkpoint, evaluated again


def measure(path: Path) -> tuple[dict, dict]:
    """Train and evaluate the model and every baseline.

    Args:
        path: folder with Beauty.txt.

    Returns:
        Recall@k (with one target it equals HR@k) and NDCG@k of each model, and the ratios to ICLRec.

    Raises:
        InputError: the file is missing or malformed.
    """
    dataset = read_split(path)
    base_config = make_model_config(
        int((dataset.item_table.id_row_V >= 0).sum()), WIDTH, LAYERS, HEADS, DROPOUT, MAX_LENGTH
    )
    results: dict[str, ModelResult] = {}
    for name, hyperparameters in HYPERPARAMETERS.items():
        results[name] = evaluate_model(train_baseline(name, dataset, base_config, hyperparameters), dataset)
        log_progress(name, results[name].mean_metrics())
    results["undercurrent"] = evaluate_model(
        train_interest_model(dataset, base_config, TRAIN_CONFIG),
        dataset,
    )
    log_progress("undercurrent", results["undercurrent"].mean_metrics())
    figures: dict = {
        name: result.mean_metrics() | {"training": result.training_summary()}
        for name, result in results.items()
    }
    figures["popularity_favourable_ties"] = evaluate_popularity_with_favourable_ties(dataset).mean_metrics()
    metrics = results["undercurrent"].mean_metrics()
    return figures, {
        f"undercurrent_over_iclrec_{m}": round(metrics[m] / value, 3) for m, value in PUBLISHED.items()
    }


def evaluate_popularity_with_favourable_ties(dataset: SplitDataset) -> ModelResult:
    """Evaluate popularity with ties in favour of the target, as published.

    The usual protocol breaks ties by row.
    """
    train, test = dataset.train, dataset.test
    count_V = popularity(
        SeenItems(train.sequences.offsets, train.sequences.video_E), len(dataset.item_table.id_row_V)
    )
    target_count_P, num_above_P = count_V[test.targets.row_P], []
    for user_P, count_P in zip(test.targets.user_P.split(1024), target_count_P.split(1024), strict=True):
        score_PV = count_V.expand(len(user_P), -1).masked_fill(
            test.seen_items.mask(user_P, len(count_V)), -1.0
        )
        num_above_P.append((score_PV > count_P[:, None]).sum(1))
    return compute_result(1 + torch.cat(num_above_P), test.targets, [])
