"""SegMM: in which segment will a user leave? Compares the model with positions only, with a time split."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets.segmm import SEGMENT_MS, LogSplit, read_split
from models.data.interaction_log import InteractionLog
from models.evaluation.metrics import paired_bootstrap
from models.seeding import seed_everything
from models.segments.segment_interest import (
    WATCHED_TO_END,
    SegmentInteractions,
    SegmentInterest,
    SegmentTable,
    position_baseline,
    segment_mask,
    skip_metrics,
    skip_ranks,
)
from models.segments.training import build_segment_interactions, fit
from models.segments.training import evaluate_skips as measure_skips

MAX_SEGMENTS, MAX_LENGTH = 40, 100  # N and M of the paper
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
    interactions, catalogue = prepare_interactions(split)
    train, valid, test = (
        interactions.select(part)
        for part in torch.arange(len(log.user_E)).tensor_split([split.valid_start, split.test_start])
    )
    scores_T = position_baseline(train, int(catalogue.num_segments_V.max())).expand(len(test.user_B), -1)
    baseline = skip_metrics(skip_ranks(scores_T, test.exit_segment_B, segment_mask(test, catalogue)))
    runs = [_run_seed(seed, log, catalogue, train, valid, test) for seed in SEEDS]
    model_metrics = {name: torch.stack([run[name] for run in runs]).mean(0) for name in baseline}
    user_E = log.user_E[split.test_start :][(test.exit_segment_B != WATCHED_TO_END).numpy()]
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


def prepare_interactions(split: LogSplit) -> tuple[SegmentInteractions, SegmentTable]:
    """Return all interactions and a table of segments without features, which the release does not have."""
    log = split.log
    length_V = torch.zeros(int(log.video_E.max()) + 1, dtype=torch.long)
    length_V[torch.from_numpy(log.video_E)] = torch.from_numpy(-(-log.duration_ms_E // SEGMENT_MS))
    interactions = build_segment_interactions(log, SEGMENT_MS, MAX_SEGMENTS, MAX_LENGTH, split.valid_start)
    return interactions, SegmentTable({}, {}, length_V.clamp(max=MAX_SEGMENTS))


def _run_seed(
    seed: int,
    log: InteractionLog,
    catalogue: SegmentTable,
    train: SegmentInteractions,
    valid: SegmentInteractions,
    test: SegmentInteractions,
) -> dict[str, Tensor]:
    seed_everything(seed)
    users, videos = int(log.user_E.max()) + 1, int(log.video_E.max()) + 1
    model = SegmentInterest({}, users, videos, MAX_SEGMENTS)
    fit(model, catalogue, train, valid, seed=seed)
    return measure_skips(model, catalogue, test)


def _mean_by_user(difference_E: Tensor, user_E: np.ndarray) -> dict[str, float | None]:
    """Average the differences by user. Returns the mean over users with its interval."""
    user_means = [difference_E.numpy()[user_E == user].mean() for user in np.unique(user_E)]
    return {
        key: value and round(value, 4)
        for key, value in paired_bootstrap(np.array(user_means), BOOTSTRAP_SAMPLES, 1).items()
    }
