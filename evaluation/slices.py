"""Metrics on slices: parts of the users and of the videos."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from core.config.model_half import EvaluateConfig
from core.time_split import TEST_FOLD
from evaluation.gate_inputs import MIN_SLICE_USERS
from models.data.inputs import vocabulary_codes
from models.data.targets import Targets
from models.evaluation.metrics import Floats, ndcg, paired_bootstrap
from models.evaluation.scoring import RankingResult, Scorer
from models.retrieval.full_ranking import target_ranks
from snapshots.reader import SnapshotReader

HEAD_SHARE = 0.2  # the most watched fifth of the videos; the rest is the long tail
DURATION_BOUNDS_S = (10, 20, 30, 60)  # bounds between the duration buckets, in seconds
FAMILYWISE_ERROR = 0.05  # probability that any slice's interval misses the true value


class VideoSliceRanks:
    """Ranks of the targets of each slice of videos, among the videos of the slice.

    Among all videos, the rank depends mostly on how much of the ranking the model gives to the slice. The
    metrics over all targets judge that already.

    Args:
        targets: The targets of the test day.
        masks: Name of the slice -> its videos, bool [V].
    """

    def __init__(self, targets: Targets, masks: Mapping[str, Tensor]) -> None:
        self._targets, self._masks = targets, masks
        self._parts: dict[str, list[Tensor]] = {name: [] for name in masks}

    def add(self, users_B: Tensor, score_BV: Tensor) -> None:
        """Rank the targets of the next users, in the order of `targets.users`.

        Args:
            users_B: The users.
            score_BV: Their scores. −inf for videos that must not be recommended.
        """
        user_P, row_P = self._targets.for_users(users_B)
        for name, mask_V in self._masks.items():
            in_slice_P = mask_V[row_P]
            if in_slice_P.any():
                slice_BV = score_BV.masked_fill(~mask_V, -torch.inf)
                self._parts[name].append(target_ranks(slice_BV, user_P[in_slice_P], row_P[in_slice_P]))

    def ranks(self) -> dict[str, Tensor]:
        """Return name of the slice -> rank of each of its targets. Slices without targets are left out."""
        return {name: torch.cat(parts) for name, parts in self._parts.items() if parts}


def slice_metrics(
    ranked: Mapping[str, RankingResult],
    video_slice_ranks: Mapping[str, VideoSliceRanks],
    targets: Targets,
    challenger: Scorer,
    snapshot: SnapshotReader,
    params: EvaluateConfig,
) -> dict[str, dict]:
    """Compute the NDCG of each slice for challenger and champion, with their paired difference.

    The targets of a slice of users are ranked among all videos. Those of a slice of videos are ranked among
    the videos of the slice.

    The intervals of a night's slices hold jointly with 95 % (Bonferroni). With twenty separate 95 %
    intervals, about one slice a night would miss its true value. A slice with fewer than MIN_SLICE_USERS
    users has no interval, because the bootstrap interval of so few users is too narrow.

    Args:
        ranked: Model name -> ranks of the targets.
        video_slice_ranks: Model name -> ranks of the targets of each slice of videos.
        targets: The targets of the test day.
        challenger: The challenger, its users and its videos.
        snapshot: The night's data.
        params: The section `evaluate`.

    Returns:
        Slice -> `num_users`, the mean NDCG of each model, and `difference`.
    """
    models = [name for name in ("challenger", "champion") if name in ranked]
    ndcg_by_slice = {
        name: {m: _slice_ndcg(ranked[m].rank_P[mask_P], targets, mask_P, params.k) for m in models}
        for name, mask_P in user_slices(targets, challenger, snapshot, params.cold_events)
        if mask_P.any()
    }
    ranks_by_model = {model: video_slice_ranks[model].ranks() for model in models}
    for name, mask_V in video_slices(challenger, snapshot).items():
        mask_P = mask_V[targets.row_P]
        if mask_P.any():
            ndcg_by_slice[name] = {
                m: _slice_ndcg(ranks_by_model[m][name], targets, mask_P, params.k) for m in models
            }
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


def user_slices(
    targets: Targets, challenger: Scorer, snapshot: SnapshotReader, cold_events: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and the target mask [P] of each slice of users."""
    length_P = challenger.user_data.sequences.lengths[targets.user_P]
    yield "new_users", length_P == 0
    yield "cold_users", length_P < cold_events
    yield "warm_users", length_P >= cold_events
    position_P = torch.searchsorted(targets.users, targets.user_P)
    for name, rows in user_segments(snapshot, targets.users):
        if len(rows) >= MIN_SLICE_USERS:
            yield name, torch.isin(position_P, rows)


def video_slices(challenger: Scorer, snapshot: SnapshotReader) -> dict[str, Tensor]:
    """Return the name and the video mask [V] of each slice of videos."""
    num_interactions_V = snapshot.num_interactions(TEST_FOLD)
    masks = {"new_videos": num_interactions_V == 0, "tail_videos": tail_mask(num_interactions_V)}
    for i, modality in enumerate(challenger.model.config.modalities):
        masks[f"missing_{modality}"] = ~challenger.item_table.has_VM[:, i]
    return masks | dict(duration_buckets(snapshot))


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


def user_segments(snapshot: SnapshotReader, users_B: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the name of each user segment and the positions of its users among these, without all users."""
    profiles = snapshot.users(TEST_FOLD).take(pa.array(users_B.numpy()))
    for field in profiles.schema:
        if pa.types.is_string(field.type) and field.name != "user_id":
            for value, rows in rows_by_value(profiles[field.name]):
                yield f"{field.name}={value}", rows


def rows_by_value(column: pa.ChunkedArray) -> Iterator[tuple[str, Tensor]]:
    """Return each value of a text column, sorted, with its rows. One sort serves any number of values."""
    values = sorted(pc.unique(column).drop_null().to_pylist())
    code_N = vocabulary_codes(column, values)
    rows = code_N.argsort(stable=True).split(code_N.bincount(minlength=len(values) + 1).tolist())
    return zip(values, rows[1:], strict=True)


def _slice_ndcg(rank_P: Tensor, targets: Targets, mask_P: Tensor, k: int) -> Floats:
    """Return the NDCG@k of each user in the slice.

    Args:
        rank_P: Ranks of the targets of the slice.
        targets: All targets.
        mask_P: Bool, the targets of the slice.
        k: Cut-off.
    """
    users, index_P = targets.user_P[mask_P].unique(return_inverse=True)
    return ndcg(rank_P.numpy(), index_P.numpy(), len(users), k)
