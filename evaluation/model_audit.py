"""Audit a model: its modality weights, its ranking heads and its embedding drift."""

import math
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from core.config.model_half import EvaluateConfig
from core.time_split import TEST_FOLD
from evaluation.metrics import paired_difference
from evaluation.ranking import rank_model
from evaluation.sampled_users import sample_test_users
from evaluation.slices import rows_by_value, user_segments
from models.baselines import Baseline
from models.data.targets import BEHAVIOUR_HEADS, Targets, behaviour_labels
from models.evaluation.embedding_drift import max_p95_drift
from models.evaluation.metrics import (
    auc,
    calibration_curve,
    calibration_error,
    classify_difference,
    f1,
    gauc,
    log_loss,
    ndcg,
)
from models.evaluation.scoring import ModalityWeights, RankingResult, Scorer, behaviour_logits
from models.interest_model import InterestModel
from snapshots.champion_space import read_champion_space
from snapshots.reader import SnapshotReader

QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}
HEADLINE_HEADS = ("complete", "like")  # the first head with an AUC is reported as the headline


def audit_modality_weights(
    weights: ModalityWeights, users: Tensor, challenger: Scorer, snapshot: SnapshotReader
) -> dict:
    """Summarise the modality weights over the videos that have all modalities.

    Args:
        weights: Weights of the test users (alpha_BM) and of all videos (alpha_VM).
        users: The test users, as rows of the data set.
        challenger: Scorer of the challenger.
        snapshot: The night's data.

    Returns:
        `mean` and `entropy` over the users, and `max_entropy`, the entropy of equal weights. The
        distributions `users` and `by_user_segment` are over users, and `by_category` is over videos.
        `is_learned` is False for the fusions `uniform` and `early`, whose weights are equal, and for
        baselines.
    """
    modalities = list(challenger.model.config.modalities)
    has_all_modalities_V = challenger.item_table.has_VM.all(1).numpy()
    is_learned = _learns_modality_weights(challenger)
    audit = {"is_learned": is_learned, "max_entropy": math.log(max(len(modalities), 1))}
    if not modalities or not has_all_modalities_V.any():
        return audit | {"mean": {}, "entropy": None, "users": {}, "by_user_segment": {}, "by_category": {}}
    alpha_BM, alpha_VM = weights.alpha_BM.numpy(), weights.alpha_VM.numpy()[has_all_modalities_V]
    category_V = pc.fill_null(snapshot.videos["category"], "unknown").filter(pa.array(has_all_modalities_V))
    user_distribution = _weight_distribution(modalities, alpha_BM)
    return audit | {
        "mean": user_distribution["mean"],
        "entropy": float(weights.entropy_B.mean()),
        "users": user_distribution,
        "by_user_segment": {
            name: _weight_distribution(modalities, alpha_BM[rows.numpy()])
            for name, rows in user_segments(snapshot, users)
        },
        "by_category": {
            name: _weight_distribution(modalities, alpha_VM[rows.numpy()])
            for name, rows in rows_by_value(category_V)
        },
    }


def measure_modality_weight_gain(
    challenger: Scorer, ranked: RankingResult, targets: Targets, params: EvaluateConfig
) -> dict:
    """Measure what the learned modality weights gain, compared with equal weights for all users.

    Args:
        challenger: Scorer of the challenger.
        ranked: Its ranking.
        targets: Of the test day.
        params: Section `evaluate` of params.yaml.

    Returns:
        `gain` is the paired difference of NDCG@k. It is None if the challenger learns no weights, or has
        fewer than two modalities. `is_informative`: whether the whole confidence interval is above 0.
    """
    if not _learns_modality_weights(challenger) or len(challenger.model.config.modalities) < 2:
        return {"gain": None, "is_informative": False}
    equal = challenger.with_equal_modality_weights()
    equal_ranked, _ = rank_model("challenger with equal modality weights", equal, targets, params.k)
    gain = paired_difference(ndcg, ranked, equal_ranked, targets, params)
    return {"gain": gain, "is_informative": classify_difference(gain) == "better"}


def _learns_modality_weights(scorer: Scorer) -> bool:
    return isinstance(scorer.model, InterestModel) and scorer.model.modality_preference is not None


def _weight_distribution(modalities: list[str], alpha_NM: np.ndarray) -> dict:
    """Return the number of rows, and the mean and QUANTILES of the weight of each modality."""
    alpha_NM = alpha_NM.astype(float)
    quantiles = np.quantile(alpha_NM, list(QUANTILES.values()), axis=0)
    statistics = {"mean": alpha_NM.mean(0), **dict(zip(QUANTILES, quantiles, strict=True))}
    by_modality = {
        name: dict(zip(modalities, map(float, row_M), strict=True)) for name, row_M in statistics.items()
    }
    return {"count": len(alpha_NM), **by_modality}


def ranking_head_metrics(scorer: Scorer, snapshot: SnapshotReader) -> dict[str, dict]:
    """Measure the ranking heads on the interactions of the test day, of at most `MAX_TEST_USERS` users.

    Returns:
        Head -> metrics, and its `calibration_curve`. A metric is None if it is undefined, such as an AUC
        without positives or negatives.
        Empty for a model without ranking heads.
    """
    if isinstance(scorer.model, Baseline) and not scorer.model.has_ranking_heads:
        return {}
    interactions, config = snapshot.interactions(TEST_FOLD), scorer.model.config
    kept_N = torch.isin(interactions.user_N, sample_test_users(interactions.user_N.unique()))
    interactions = interactions.select(kept_N)
    request_NJ = snapshot.request_contexts(TEST_FOLD, config)[kept_N]
    logit_NH = behaviour_logits(scorer, interactions.user_N, interactions.video_N, request_NJ)
    p_NH = torch.sigmoid(logit_NH).double().numpy()
    known_N = ~interactions.watch_ratio_N.isnan()
    label_NH, known_NH = behaviour_labels(
        interactions.watch_ratio_N,
        known_N,
        interactions.behaviour_NA,
        config.behaviours,
        config.skip_watch_ratio,
    )
    metrics = {}
    for i, head in enumerate(BEHAVIOUR_HEADS):
        measured_N = known_NH[:, i].numpy()
        p_N, label_N = p_NH[measured_N, i], label_NH[:, i].numpy()[measured_N]
        metrics[head] = {
            "num_interactions": int(measured_N.sum()),
            "positive_rate": float(label_N.mean()) if len(label_N) else None,
            "auc": auc(p_N, label_N),
            "gauc": gauc(p_N, label_N, interactions.user_N.numpy()[measured_N]),
            "f1": f1(p_N, label_N),
            "log_loss": log_loss(p_N, label_N),
            "calibration_error": calibration_error(p_N, label_N),
            "calibration_curve": calibration_curve(p_N, label_N),
        }
    return metrics


def headline_metrics(head_metrics: Mapping[str, Mapping] | None) -> dict:
    """Return the metrics of the headline head, and its name as `ranking_head`.

    Empty for a model without ranking heads.
    """
    if not head_metrics:
        return {}
    head = next((h for h in HEADLINE_HEADS if head_metrics[h]["auc"] is not None), HEADLINE_HEADS[0])
    metrics = {
        name: head_metrics[head][name] for name in ("auc", "gauc", "f1", "log_loss", "calibration_error")
    }
    return {"ranking_head": head, **metrics}


def measure_embedding_drift(challenger: Scorer, snapshot: SnapshotReader) -> dict:
    """Measure the embedding drift from the champion to the challenger on the probe videos.

    Returns:
        `modalities` has the drift of each modality. `max_p95_drift` is the largest 95th percentile of
        1 − cosine over the modalities. It is None if nothing can be compared. `compared_with` names the
        champion, or the reason why nothing is compared.
    """
    model = challenger.model
    if isinstance(model, Baseline):
        return {
            "compared_with": "the challenger is a baseline without an embedding space",
            "modalities": {},
            "max_p95_drift": None,
        }
    champion = read_champion_space(snapshot, model.config.width)
    drift_by_modality = champion.embedding_drift(model.item_fusion.projections)
    return {
        "compared_with": champion.reason,
        "modalities": drift_by_modality,
        "max_p95_drift": max_p95_drift(drift_by_modality) if drift_by_modality else None,
    }
