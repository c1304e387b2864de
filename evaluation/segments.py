"""Segment interest on the test day: how well it predicts where users leave, and its curves."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from core.config.model_half import EvaluateConfig
from core.time_split import TEST_FOLD
from evaluation.sampled_users import sample_test_users
from models.data.segments import WATCHED_TO_END, SegmentLog, SegmentTable, views_after
from models.evaluation.metrics import auc, auc_by_user, paired_bootstrap
from models.evaluation.scoring import Scorer
from models.interest_model import InterestModel
from models.segments.segment_interest import (
    position_baseline,
    predict_interest,
    skip_metrics,
    skip_probability,
    skip_ranks,
    stay_probabilities,
)
from models.sources import SegmentSource, segment_source
from models.sources.segment_interest import HISTORY_LENGTH
from snapshots.reader import SnapshotReader

EXIT_METRICS = ("hr@1", "hr@5", "ndcg@10")
CHUNK_USERS = 256  # users whose curves are computed at a time


def segment_metrics(challenger: Scorer, snapshot: SnapshotReader, params: EvaluateConfig) -> dict:
    """Compare segment interest with positions only, on all views of the test day whose end is known.

    Positions only: how often the views before the test day ended in each segment.

    Args:
        challenger: Model, videos and users.
        snapshot: Of the night.
        params: Section `evaluate` of params.yaml.

    Returns:
        `segments`: `num_views`, `num_exits` (the user left, and the video has several segments), and
        `metrics`: HR@k and NDCG@k of the segment of the exit, and the AUC of skips. Each has `challenger`,
        `position_only`, and `difference`, the mean over users with its interval. Empty without segment
        interest.
    """
    inputs = _source_and_segments(challenger)
    if inputs is None:
        return {}
    source, segment_table = inputs
    day, sequences = snapshot.interactions(TEST_FOLD), challenger.user_data.sequences
    day = day.select(torch.isin(day.user_N, sample_test_users(day.user_N.unique())))
    views, known_N = views_after(
        sequences, day.user_N, day.video_N, day.watch_ratio_N, segment_table, HISTORY_LENGTH
    )
    p_ET, mask_ET = predict_interest(source.interest, segment_table, views)
    earlier = SegmentLog.from_sequences(sequences, segment_table).views(segment_table, HISTORY_LENGTH)
    baseline_T = position_baseline(earlier, segment_table.max_segments)
    scores = {"challenger": p_ET, "position_only": baseline_T.expand_as(p_ET)}
    user_E, is_exit_E = day.user_N[known_N], (views.exit_segment_E != WATCHED_TO_END) & (mask_ET.sum(1) > 1)
    skip_watch_ratio = challenger.model.config.skip_watch_ratio
    skip_E = {name: skip_probability(p, mask_ET, skip_watch_ratio) for name, p in scores.items()}
    metrics = _exit_metrics(
        {name: p[is_exit_E] for name, p in scores.items()},
        views.exit_segment_E[is_exit_E],
        mask_ET[is_exit_E],
        user_E[is_exit_E].numpy(),
        params,
    )
    skipped_E = (day.watch_ratio_N[known_N] < skip_watch_ratio).numpy()
    metrics["auc"] = _compare_aucs(skip_E, skipped_E, user_E.numpy(), params)
    return {"segments": {"num_views": len(user_E), "num_exits": int(is_exit_E.sum()), "metrics": metrics}}


def _exit_metrics(
    scores: Mapping[str, Tensor],
    exit_segment_E: Tensor,
    mask_ET: Tensor,
    user_E: np.ndarray,
    params: EvaluateConfig,
) -> dict[str, dict]:
    """Return the comparison of each of `EXIT_METRICS`, given the interest p_ET by each model."""
    by_model = {name: skip_metrics(skip_ranks(p, exit_segment_E, mask_ET)) for name, p in scores.items()}
    return {
        metric: _compare_means({name: values[metric] for name, values in by_model.items()}, user_E, params)
        for metric in EXIT_METRICS
    }


def segment_columns(challenger: Scorer, users: Tensor, rows_BK: Tensor) -> dict[str, pa.Array]:
    """Return the curves of these videos, as one list for each user and video.

    Args:
        challenger: Model, videos and users.
        users: The users.
        rows_BK: Videos of each user.

    Returns:
        `segment_interest`: p of each segment. `segment_stay`: the probability that the user is still there
        after each segment. Empty without segment interest.
    """
    inputs = _source_and_segments(challenger)
    if inputs is None:
        return {}
    source, segment_table = inputs
    curves = []
    for users_b, rows_bK in zip(users.split(CHUNK_USERS), rows_BK.split(CHUNK_USERS), strict=True):
        position_N = torch.arange(len(users_b)).repeat_interleave(rows_bK.shape[1])
        curves.append(
            source.segment_curves(challenger.batch(users_b), segment_table, position_N, rows_bK.flatten())
        )
    p_NT, mask_NT = (torch.cat(parts) for parts in zip(*curves, strict=True))
    return {
        "segment_interest": _to_lists(p_NT, mask_NT),
        "segment_stay": _to_lists(stay_probabilities(p_NT, mask_NT), mask_NT),
    }


def _source_and_segments(scorer: Scorer) -> tuple[SegmentSource, SegmentTable] | None:
    """Return the source and what it reads. None if the model or the snapshot does not have it."""
    if not isinstance(scorer.model, InterestModel) or scorer.item_table.segments is None:
        return None
    source = segment_source(scorer.model.sources)
    return None if source is None else (source, scorer.item_table.segments)


def _compare_means(values: Mapping[str, Tensor], user_E: np.ndarray, params: EvaluateConfig) -> dict:
    """Return the mean of each model over views, and the difference of the means of the users."""
    value_E = {name: x_E.double().numpy() for name, x_E in values.items()}
    _, row_E, count_B = np.unique(user_E, return_inverse=True, return_counts=True)
    difference_B = np.bincount(row_E, value_E["challenger"] - value_E["position_only"]) / count_B
    means = {name: float(x_E.mean()) if len(x_E) else None for name, x_E in value_E.items()}
    return means | {"difference": paired_bootstrap(difference_B, params.bootstrap_samples, params.seed)}


def _compare_aucs(
    skip_E: Mapping[str, Tensor], skipped_E: np.ndarray, user_E: np.ndarray, params: EvaluateConfig
) -> dict:
    """Return the AUC of each model over views, and the difference of the AUC within users."""
    p_E = {name: x_E.double().numpy() for name, x_E in skip_E.items()}
    by_user = {name: auc_by_user(x_E, skipped_E, user_E)[0] for name, x_E in p_E.items()}
    difference_B = by_user["challenger"] - by_user["position_only"]
    difference_B = difference_B[~np.isnan(difference_B)]  # users with and without skips
    aucs = {name: auc(x_E, skipped_E) for name, x_E in p_E.items()}
    return aucs | {"difference": paired_bootstrap(difference_B, params.bootstrap_samples, params.seed)}


def _to_lists(x_NT: Tensor, mask_NT: Tensor) -> pa.Array:
    """Return the values of each row where the mask is True."""
    offsets = torch.nn.functional.pad(mask_NT.sum(1).cumsum(0), (1, 0)).int()
    return pa.ListArray.from_arrays(pa.array(offsets.numpy()), pa.array(x_NT[mask_NT].numpy()))
