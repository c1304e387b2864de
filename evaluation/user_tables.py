"""The tables that the evaluation writes: one row for each test user or each recommendation."""

from collections.abc import Mapping, Sequence

import pyarrow as pa
import torch
from torch import Tensor

from evaluation.metrics import metric_per_user
from evaluation.segments import segment_columns
from models.data.targets import Targets
from models.evaluation.metrics import ndcg, recall
from models.evaluation.scoring import (
    ModalityWeights,
    RankingResult,
    Scorer,
    recommendation_contributions,
)
from snapshots.reader import SnapshotReader


def per_user_table(
    snapshot: SnapshotReader,
    scorers: Mapping[str, Scorer],
    ranked: Mapping[str, RankingResult],
    weights: ModalityWeights,
    targets: Targets,
    k: int,
) -> pa.Table:
    """Return metrics and modality weights of each test user.

    Args:
        snapshot: Of the night.
        scorers: Name -> model, of the challenger and of saved models.
        ranked: Name -> ranks of the targets, of all compared models.
        weights: Modality weights of the challenger.
        targets: Of the test day.
        k: Cut-off of the metrics.

    Returns:
        Columns `user_id`, `sequence_length`, `num_positives`, `ndcg_<model>`, `recall_<model>` and
        `alpha_<modality>`.
    """
    users, challenger = targets.users, scorers["challenger"]
    columns: dict[str, object] = {
        "user_id": snapshot.user_ids.take(pa.array(users.numpy())),
        "sequence_length": challenger.user_data.sequences.lengths[users].numpy(),
        "num_positives": torch.unique(targets.user_P, return_counts=True)[1].numpy(),
    }
    for name, ranking in ranked.items():
        columns[f"ndcg_{name}"] = metric_per_user(ndcg, ranking, targets, k)
        if name in scorers:
            columns[f"recall_{name}"] = metric_per_user(recall, ranking, targets, k)
    for i, modality in enumerate(challenger.model.config.modalities):
        columns[f"alpha_{modality}"] = weights.alpha_BM[:, i].numpy()
    return pa.table(columns)


def recommendations_table(
    snapshot: SnapshotReader,
    challenger: Scorer,
    ranked: RankingResult,
    weights: ModalityWeights,
    targets: Targets,
) -> pa.Table:
    """Return the challenger's best videos for each test user, with explanations.

    Args:
        snapshot: Of the night.
        challenger: The model with its videos and users.
        ranked: Its best videos.
        weights: Its modality weights.
        targets: Of the test day.

    Returns:
        Columns, in addition to `user_id`, `rank`, `video_row` and `score`:
        `alpha_<modality>`: Modality weights for this user and video.
        `contribution_<modality>`: How much the modality adds to the score, compared with the average video.
        `top_modality`: The modality with the largest contribution. Null if none is positive.
        `segment_interest`, `segment_stay`: See `segment_columns`. Only with segment interest.
    """
    B, K = ranked.top_BK.shape
    user_N = targets.users.repeat_interleave(K)
    columns: dict[str, object] = {
        "user_id": snapshot.user_ids.take(pa.array(user_N.numpy())),
        "rank": torch.arange(1, K + 1).repeat(B).int().numpy(),
        "video_row": ranked.top_BK.flatten().int().numpy(),
        "score": ranked.score_BK.flatten().numpy(),
    }
    modalities, alpha_NM = list(challenger.model.config.modalities), weights.alpha_BKM.flatten(0, 1)
    columns |= {f"alpha_{modality}": alpha_NM[:, i].numpy() for i, modality in enumerate(modalities)}
    contribution_NM = recommendation_contributions(challenger, targets.users, ranked.top_BK).flatten(0, 1)
    columns |= {
        f"contribution_{modality}": contribution_NM[:, i].numpy() for i, modality in enumerate(modalities)
    }
    columns["top_modality"] = _top_modality(contribution_NM, modalities)
    columns |= segment_columns(challenger, targets.users, ranked.top_BK)
    return pa.table(columns).filter(pa.array((ranked.score_BK.flatten() > -torch.inf).numpy()))


def _top_modality(contribution_NM: Tensor, modalities: Sequence[str]) -> pa.Array:
    """Return the modality with the largest contribution. Null if none is positive."""
    if not modalities:
        return pa.nulls(len(contribution_NM), pa.string())
    max_N, argmax_N = contribution_NM.max(1)
    return pa.array(modalities, pa.string()).take(pa.array(argmax_N.numpy(), mask=(max_N <= 0).numpy()))
