"""MovieLens-1M, last item left out: the model with and without text and profile against ID baselines.

datasets/movielens1m.py describes the data. The figures of the eSASRec paper are for the same split and full
ranking. On two cores this takes many hours, because half of the 6,040 sequences are longer than 96 films.
"""

from pathlib import Path

import torch
from torch import Tensor

from benchmarks.quality.sets.protocol import (
    NO_RERANK,
    ModelResult,
    encode_film_texts,
    evaluate_model,
    log_progress,
    make_model_config,
    paired_difference,
    train_baseline,
    train_interest_model,
)
from core.config.model_half import TrainConfig
from core.config.models import InterestModelConfig, ObjectiveConfig
from core.schema import replace_nested
from datasets.landing_form import Record
from datasets.movielens1m import read_split
from models.encoders import build_text_encoder
from models.training.baselines import BaselineTrainingConfig

WIDTH, LAYERS, HEADS, DROPOUT, MAX_LENGTH = 64, 2, 2, 0.2, 200
# Epochs, patience, users in a batch, learning rate, weight decay, bound of the gradient norm, seed.
HYPERPARAMETERS = {
    "popularity": BaselineTrainingConfig(1, 1, 64, 0.001, 0.0, 5.0, 1),
    "itemcf": BaselineTrainingConfig(1, 1, 64, 0.001, 0.0, 5.0, 1),
    "mf_bpr": BaselineTrainingConfig(100, 5, 64, 0.003, 0.01, 5.0, 1),
    "lightgcn": BaselineTrainingConfig(100, 5, 64, 0.003, 0.0, 5.0, 1),
    "sasrec": BaselineTrainingConfig(200, 10, 64, 0.001, 0.01, 5.0, 1, "events"),
    "esasrec": BaselineTrainingConfig(200, 10, 64, 0.001, 0.01, 5.0, 1, "events"),
    "bert4rec": BaselineTrainingConfig(200, 20, 64, 0.001, 0.01, 5.0, 1),
}
TRAIN_CONFIG = TrainConfig(
    model=InterestModelConfig(
        name="interest", fusion="user", normalisation="fixed", reliability=False,
        encoder="transformer", layers=LAYERS, heads=HEADS, dropout=DROPOUT,
        positions=True, profile=True, contexts=(), item_features=(), item_attributes=(),
        max_length=MAX_LENGTH, token_budget=0,
        skip_watch_ratio=0.2, warmup_epochs=1,
        sources=(), rerank=NO_RERANK,
        playback_signals=False, request_contexts=(),
        objective=ObjectiveConfig(
            ranking_weight=0.0, align_weight=0.0, anchor_weight=0.0, num_negatives=0, id_dropout=0.0,
            horizon=1, recency_half_life_days=0.0,
        ),
    ),
    epochs=60, patience=5, batch_size=64, batch_by="events", learning_rate=0.002, weight_decay=0.01,
    clip_norm=5.0, device="auto", precision="auto", seed=1,
)  # fmt: skip
PUBLISHED = {"recall@10": 0.3133, "ndcg@10": 0.1772}  # eSASRec, in its paper (arXiv 2508.06450)


def measure(path: Path) -> tuple[dict, dict]:
    """Train and evaluate the model with and without content, and every baseline.

    Args:
        path: folder of the release.

    Returns:
        Recall@k and NDCG@k of each model with differences by user, and the ratios to the published eSASRec.

    Raises:
        InputError: the release is missing, incomplete or malformed.
    """
    dataset = read_split(path, embed_texts)
    base_config = make_model_config(
        int((dataset.item_table.id_row_V >= 0).sum()), WIDTH, LAYERS, HEADS, DROPOUT, MAX_LENGTH
    )
    results: dict[str, ModelResult] = {}
    for name, hyperparameters in HYPERPARAMETERS.items():
        results[name] = evaluate_model(train_baseline(name, dataset, base_config, hyperparameters), dataset)
        log_progress(name, results[name].mean_metrics())
    for name, data, profile in (
        ("undercurrent", dataset, True),
        ("undercurrent_ids_only", dataset.without_content(), False),
    ):
        config = replace_nested(TRAIN_CONFIG, {"model.profile": profile})
        results[name] = evaluate_model(train_interest_model(data, base_config, config), data)
        log_progress(name, results[name].mean_metrics())
    figures: dict = {
        name: result.mean_metrics() | {"training": result.training_summary()}
        for name, result in results.items()
    }
    figures["undercurrent_minus"] = {
        name: paired_difference([results["undercurrent"]], [result], "ndcg@10")
        for name, result in results.items()
        if name != "undercurrent"
    }
    return figures, {
        f"{name}_over_published_esasrec_{m}": round(figures[name][m] / value, 3)
        for name in ("esasrec", "undercurrent")
        for m, value in PUBLISHED.items()
    }


def embed_texts(films: list[Record]) -> tuple[Tensor, Tensor]:
    """Embed every film with the default text encoder, as in `encode_film_texts`."""
    return encode_film_texts(films, build_text_encoder("default", torch.device("cpu")))
