"""SegMM: in which segment will a user leave? Compares the model with positions only, with a time split."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.result import round_interval
from datasets.segmm import SEGMENT_MS, LogSplit, read_split
from models.data.interaction_log import InteractionLog
from models.data.segment_grid import MAX_SEGMENTS
from models.data.segments import WATCHED_TO_END, SegmentTable, SegmentViews, views_in_order_of_time
from models.evaluation.metrics import paired_bootstrap
from models.seeding import seed_everything
from models.segments.segment_interest import (
    SegmentInterest,
    evaluate_skips,
    position_baseline,
    skip_metrics,
    skip_ranks,
)
from models.training.segments import fit, known_id_rows

MAX_LENGTH = 100  # M of the paper
SEEDS = (1, 2, 3)
BOOTSTRAP_SAMPLES = 2000


def measure(path: Path) -> tuple[dict, dict]:
    """Evaluate the model and positions only on the newest tenth of the interactions.

    Args:
        path: folder of the release.

    Returns:
        HR@k and NDCG@k of the exit segment with the differences over users, and the ratio of HR@1.

    Raises:
        InputError: the release is missing or malformed.
    """
    split = read_split(path)
    log = split.log
    views, catalogue = prepare_views(split)
    train, valid, test = (
        views.select(part)
        for part in torch.arange(len(log.user_E)).tensor_split([split.valid_start, split.test_start])
    )
    p_BT = position_baseline(train, catalogue.max_segments).expand(len(test), -1)
    baseline = skip_metrics(skip_ranks(p_BT, test.exit_segment_E, catalogue.mask(test.video_E)))
    runs = [_run_seed(seed, log, catalogue, train, valid, test) for seed in SEEDS]
    model_metrics = {name: torch.stack([run[name] for run in runs]).mean(0) for name in baseline}
    user_E = log.user_E[split.test_start :][(test.exit_segment_E != WATCHED_TO_END).numpy()]
    figures: dict = {"interactions": len(user_E), "users": len(set(user_E.tolist())), "seeds": len(SEEDS)}
    for name in baseline:
        figures[f"{name}_undercurrent"] = round(float(model_metrics[name].mean()), 4)
        figures[f"{name}_position_only"] = round(float(baseline[name].mean()), 4)
    for name in ("hr@1", "ndcg@10"):
        figures[f"{name}_undercurrent_minus_position_only"] = _mean_by_user(
            model_metrics[name] - baseline[name], user_E
        )
    return figures, {
        "hr@1_undercurrent_over_position_only": round(
            float(model_metrics["hr@1"].mean() / baseline["hr@1"].mean()), 3
        )
    }


def prepare_views(split: LogSplit) -> tuple[SegmentViews, SegmentTable]:
    """Return all views and a table of segments without features, which the release does not have."""
    log, num_videos = split.log, int(split.log.video_E.max()) + 1
    duration_V = torch.zeros(num_videos, dtype=torch.long)
    duration_V[torch.from_numpy(log.video_E)] = torch.from_numpy(log.duration_ms_E)
    train_video_E = torch.from_numpy(log.video_E[: split.valid_start])
    id_row_V = known_id_rows(train_video_E, torch.arange(num_videos) + 1)
    num_segments_V = (-(-duration_V // SEGMENT_MS)).clamp(max=MAX_SEGMENTS)
    catalogue = SegmentTable({}, {}, num_segments_V, duration_V, id_row_V, SEGMENT_MS)
    return views_in_order_of_time(log, catalogue, MAX_LENGTH, split.valid_start), catalogue


def _run_seed(
    seed: int,
    log: InteractionLog,
    catalogue: SegmentTable,
    train: SegmentViews,
    valid: SegmentViews,
    test: SegmentViews,
) -> dict[str, Tensor]:
    seed_everything(seed)
    users, videos = int(log.user_E.max()) + 1, int(log.video_E.max()) + 1
    model = SegmentInterest({}, users, videos, MAX_SEGMENTS)
    fit(model, catalogue, train, [valid], seed=seed)
    return evaluate_skips(model, catalogue, test)


def _mean_by_user(difference_E: Tensor, user_E: np.ndarray) -> dict[str, float | None]:
    """Average the differences by user. Returns the mean over users with its interval."""
    user_means = [difference_E.numpy()[user_E == user].mean() for user in np.unique(user_E)]
    return round_interval(paired_bootstrap(np.array(user_means), BOOTSTRAP_SAMPLES, 1))
