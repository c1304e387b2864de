"""Metrics on slices: parts of the users and of the videos."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from core.config.model_half import EvaluateConfig
from core.time_split import TEST_FOLD
from evaluation.gate_inputs import MIN_SLICE_USERS
from models.data.targets import Targets
from models.evaluation.metrics import Floats, ndcg, paired_bootstrap
from models.evaluation.scoring import RankingResult, Scorer
from snapshots.reader import SnapshotReader

HEAD_SHARE = 0.2  # the most watched fifth of the videos; the rest is the long tail
DURATION_BOUNDS_S = (10, 20, 30, 60)  # bounds between the duration buckets, in seconds
FAMILYWISE_ERROR = 0.05  # probability that any slice's interval misses the true value


def slice_metrics(
    ranked: Mapping[str, RankingResult],
    targets: Targets,
    challenger: Scorer,
    snapshot: SnapshotReader,
    params: EvaluateConfig,
) -> dict[str, dict]:
    """Compute the NDCG of each slice for challenger and champion, with their paired difference.

    A slice of videos counts only its own targets, but these are ranked among all videos.

    The intervals of a night's slices hold jointly with 95 % (Bonferroni). With twenty separate 95 %
    intervals, about one slice a night would miss its true value. A slice with fewer than MIN_SLICE_USERS
    users has no interval, because the bootstrap interval of so few users is too narrow.

    Args:
        ranked: Model name -> ranks of the targets.
        targets: The targets of the test day.
        challenger: The challenger, its users and its videos.
        snapshot: The night's data.
        params: The section `evaluate`.

    Returns:
        Slice -> `num_users`, the mean NDCG of each model, and `difference`.
    """
    masks = {
        name: mask_P
        for name, mask_P in slice_masks(targets, challenger, snapshot, params.cold_events)
        if mask_P.any()
    }
    ndcg_by_slice = {name: _slice_ndcg(ranked, targets, mask_P, params.k) for name, mask_P in masks.items()}
    differences = {
        name: per_user["challenger"] - per_user["champion"]
        for name, per_user in ndcg_by_slice.items()
        if "champion" in per_user and len(per_user["champion"]) >= MIN_SLICE_USERS
    }
    level = 1 - FAMILYWISE_ERROR / max(len(differences), 1)
    results: dict[str, dict] = {
        name: {"num_users": len(per_user["challenger"]), **{m: float(v.mean()) for m, v in per_user.items()}}
        for name, per_user in ndcg_by_slice.items()
    }
    for name, difference in differences.items():
        results[name]["difference"] = paired_bootstrap(
            difference, params.bootstrap_samples, params.seed, level
        )
    return results


def slice_masks(
    targets: Targets, challenger: Scorer, snapshot: SnapshotReader, cold_events: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the target mask [P] of each slice."""
    length_P = challenger.user_data.sequences.lengths[targets.user_P]
    yield "new_users", length_P == 0
    yield "cold_users", length_P < cold_events
    yield "warm_users", length_P >= cold_events
    yield "new_videos", snapshot.num_interactions(TEST_FOLD)[targets.row_P] == 0
    yield "tail_videos", tail_mask(snapshot.num_interactions(TEST_FOLD))[targets.row_P]
    for i, modality in enumerate(challenger.model.config.modalities):
        yield f"missing_{modality}", ~challenger.item_table.has_VM[targets.row_P, i]
    for name, mask_V in duration_buckets(snapshot):
        yield name, mask_V[targets.row_P]
    for name, mask_U in user_segments(snapshot):
        if len(targets.user_P[mask_U[targets.user_P]].unique()) >= MIN_SLICE_USERS:
            yield name, mask_U[targets.user_P]


def tail_mask(num_interactions_V: Tensor) -> Tensor:
    """Return a bool mask [V] of the long tail: all videos except the most watched fifth."""
    order_V = torch.argsort(num_interactions_V, descending=True, stable=True)
    tail_V = torch.ones_like(num_interactions_V, dtype=torch.bool)
    tail_V[order_V[: math.ceil(HEAD_SHARE * len(order_V))]] = False
    return tail_V


def duration_buckets(snapshot: SnapshotReader) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the video mask [V] of each duration bucket.

    A video of unknown duration is in no bucket. All users complete long videos less often than short ones.
    """
    second_V = torch.from_numpy(snapshot.videos["duration_ms"].to_numpy().astype(np.float64)) / 1000
    for low, high in zip((0, *DURATION_BOUNDS_S), (*DURATION_BOUNDS_S, math.inf), strict=True):
        name = f"{low}_to_{high}_s" if high < math.inf else f"from_{low}_s"
        yield name, (second_V >= low) & (second_V < high)


def user_segments(snapshot: SnapshotReader) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the user mask [U] of each user segment, without the one of all users."""
    for field in snapshot.users(TEST_FOLD).schema:
        if pa.types.is_string(field.type) and field.name != "user_id":
            value_U = snapshot.users(TEST_FOLD)[field.name].to_numpy(zero_copy_only=False)
            for value in sorted({v for v in value_U if v is not None}):
                yield f"{field.name}={value}", torch.from_numpy(value_U == value)


def _slice_ndcg(
    ranked: Mapping[str, RankingResult], targets: Targets, mask_P: Tensor, k: int
) -> dict[str, Floats]:
    """Return model -> NDCG@k of each user in the slice, for challenger and champion."""
    users, index_P = targets.user_P[mask_P].unique(return_inverse=True)
    return {
        name: ndcg(ranked[name].rank_P[mask_P].numpy(), index_P.numpy(), len(users), k)
        for name in ("challenger", "champion")
        if name in ranked
    }
