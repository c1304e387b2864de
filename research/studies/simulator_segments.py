"""Segment interest on a simulated platform: skipped segments, and segment scores in the ranking heads.

The study runs the last night of a folder that `python -m simulator make --out DIR` wrote, and measures two
things on its test day:
- In which segment will a user leave (research/studies/simulator_skips.py)?
- Do segment scores improve the ranking heads?

For the second, a logistic regression is fitted on the validation day. Its inputs are the predictions of the
heads and the number of segments, with or without the segment scores. It is the cheapest second stage: without
a gain here, a night need not compute segment scores. The last line is the JSON result.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from benchmarks.quality.sets.simulator import BOOTSTRAP_SAMPLES, SEEDS, train_scorer
from benchmarks.quality.simulator_lake import read_interactions, run_night
from benchmarks.result import publish_result
from core import config as parameters
from core.errors import REFUSED_INPUT, InputError
from models.data.labels import COMPLETE_WATCH_RATIO
from models.data.targets import BEHAVIOUR_HEADS as ALL_HEADS
from models.evaluation.metrics import Floats, auc, log_loss, paired_bootstrap
from models.evaluation.scoring import Scorer, behaviour_logits
from models.segments.segment_interest import SegmentInteractions, SegmentInterest, segment_mask
from models.segments.training import predict_interest
from research.studies import RESULTS
from research.studies.simulator_skips import (
    SEGMENT_MS,
    SkipDataset,
    evaluate_skips,
    mean_by_user,
    prepare_dataset,
)
from snapshots.reader import SnapshotReader

HEADS = ("complete", "like", "skip")  # heads that are used
SKIP_WATCH_RATIO = 0.2


def main() -> int:
    """Run the study.

    Returns:
        0: done. 2: the folder is refused.
    """
    parser = argparse.ArgumentParser(
        prog="python -m research.studies.simulator_segments", description=__doc__
    )
    parser.add_argument("--path", type=Path, required=True, help="folder of the simulation")
    parser.add_argument("--keep", action="store_true", help="write research/results/simulator-segments.json")
    args = parser.parse_args()
    try:
        figures, ratios = measure(args.path)
    except InputError as error:
        print(f"simulator_segments: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    publish_result("simulator-segments", figures, ratios, args.keep, RESULTS)
    return 0


def measure(path: Path) -> tuple[dict, dict]:
    """Measure segment skips, and segment scores in the ranking heads.

    Args:
        path: folder of the simulation.

    Returns:
        figures and ratios.

    Raises:
        InputError: the folder holds no simulation, or a step refuses the night.
    """
    with tempfile.TemporaryDirectory(prefix="undercurrent-segments-") as folder:
        snapshot = run_night(path, Path(folder))
        params = parameters.load_params(snapshot.night.params_path)
        table = read_interactions(snapshot)
        scorers = [train_scorer(params, snapshot, seed) for seed in SEEDS]
        dataset = prepare_dataset(snapshot, table)
        skips, models = evaluate_skips(dataset, SEEDS, BOOTSTRAP_SAMPLES)
        scores = evaluate_segment_scores(snapshot, table, dataset, scorers, models, BOOTSTRAP_SAMPLES)
    figures = {
        "night": str(snapshot.night.day),
        "seeds": len(SEEDS),
        "segment_skips": skips,
        "segment_scores_in_ranking": scores,
    }
    ratio = skips["hr@1"]["undercurrent"] / skips["hr@1"]["position_only"]
    return figures, {"hr@1_undercurrent_over_position_only": round(ratio, 3)}


def evaluate_segment_scores(
    snapshot: SnapshotReader,
    table: pa.Table,
    skips: SkipDataset,
    scorers: Sequence[Scorer],
    models: Sequence[SegmentInterest],
    samples: int,
) -> dict:
    """Measure AUC and log loss of each label without and with segment scores.

    Args:
        table: all interactions, from `simulator_lake.read_interactions`.
        scorers: the interest model, one for each seed.
        models: the segment interest models, one for each seed.
        samples: number of bootstrap samples.

    Returns:
        label -> figures, with the reduction of log loss and its interval over users.
    """
    labels = {
        part: _labels(snapshot, table, skips, rows)
        for part, rows in (("valid", skips.valid_row_E), ("test", skips.test_row_E))
    }
    contexts = scorers[0].model.config.contexts
    train_users = replace(
        scorers[0].user_data,
        sequences=snapshot.sequences("train", contexts),
        seen=snapshot.seen_items("valid_1"),
    )
    results: dict = {}
    runs = [
        (
            _make_features(
                replace(scorer, user_data=train_users), model, skips, skips.valid, table, skips.valid_row_E
            ),
            _make_features(scorer, model, skips, skips.test, table, skips.test_row_E),
        )
        for scorer, model in zip(scorers, models, strict=True)
    ]
    for label in labels["test"]:
        predictions = [
            {
                name: _fit_predict(valid[:, :width], labels["valid"][label], test[:, :width])
                for name, width in (("without", len(HEADS) + 1), ("with", valid.shape[1]))
            }
            for valid, test in runs
        ]
        results[label] = _compare(predictions, labels["test"][label], skips.user_E, samples)
    return results


def _make_features(
    scorer: Scorer,
    model: SegmentInterest,
    skips: SkipDataset,
    interactions: SegmentInteractions,
    table: pa.Table,
    rows: np.ndarray,
) -> Floats:
    """Return the inputs of the regression, [N, F]: head logits, number of segments, segment summary."""
    user_N = torch.from_numpy(table["user_row"].to_numpy()[rows].astype(np.int64))
    video_N = torch.from_numpy(table["video_row"].to_numpy()[rows].astype(np.int64))
    logit_NH = behaviour_logits(scorer, user_N, video_N)[:, [ALL_HEADS.index(name) for name in HEADS]]
    p_BT = predict_interest(model, skips.catalogue, interactions)
    exists_BT = segment_mask(interactions, skips.catalogue)
    columns = [logit_NH, exists_BT.sum(1, keepdim=True), summarise_segments(p_BT, exists_BT)]
    return torch.cat(columns, 1).double().numpy()


def summarise_segments(p_BT: Tensor, exists_BT: Tensor) -> Tensor:
    """Summarise the segment scores of each video.

    Args:
        p_BT: segment scores.
        exists_BT: whether the video has the segment.

    Returns:
        [B, 4]: mean, minimum, first score, and the expected watched share if σ(p) is the probability to stay.
    """
    p_BT = p_BT.masked_fill(~exists_BT, 0.0)
    count_B = exists_BT.sum(1)
    stay_probability_BT = torch.where(exists_BT, torch.sigmoid(p_BT), 0.0).cumprod(1)
    min_B = p_BT.masked_fill(~exists_BT, torch.inf).min(1).values
    return torch.stack([p_BT.sum(1) / count_B, min_B, p_BT[:, 0], stay_probability_BT.sum(1) / count_B], 1)


def _labels(
    snapshot: SnapshotReader, table: pa.Table, skips: SkipDataset, rows: np.ndarray
) -> dict[str, np.ndarray]:
    """Return label -> [N] whether it applies.

    An interaction is effective if its watch ratio exceeds the training median of videos of similar duration.
    """
    duration_V = np.array([ms or 0 for ms in snapshot.videos["duration_ms"].to_pylist()])
    ratio_N = table["watch_ratio"].to_numpy()
    bucket_N = duration_V[table["video_row"].to_numpy()] // SEGMENT_MS
    is_train_N = np.isin(np.arange(len(ratio_N)), [*skips.valid_row_E, *skips.test_row_E], invert=True)
    median = {b: np.nanmedian(ratio_N[is_train_N & (bucket_N == b)]) for b in np.unique(bucket_N[is_train_N])}
    median_ratio_N = np.array([median.get(b, 1.0) for b in bucket_N[rows]])
    return {
        "complete": ratio_N[rows] >= COMPLETE_WATCH_RATIO,
        "effective": ratio_N[rows] > median_ratio_N,
        "skip": ratio_N[rows] < SKIP_WATCH_RATIO,
    }


def _fit_predict(valid_NF: Floats, label_N: np.ndarray, test_NF: Floats) -> Floats:
    scaler = StandardScaler().fit(valid_NF)
    model = LogisticRegression().fit(scaler.transform(valid_NF), label_N)
    return model.predict_proba(scaler.transform(test_NF))[:, 1]


def _compare(
    predictions: Sequence[dict[str, Floats]], label_N: np.ndarray, user_N: np.ndarray, samples: int
) -> dict:
    results: dict = {"interactions": len(label_N), "positive_rate": round(float(label_N.mean()), 4)}
    for name in ("without", "with"):
        results[f"auc_{name}"] = round(float(np.mean([auc(run[name], label_N) for run in predictions])), 4)
        results[f"log_loss_{name}"] = round(
            float(np.mean([log_loss(run[name], label_N) for run in predictions])), 4
        )
    loss = {
        name: np.stack([-np.log(np.where(label_N, run[name], 1 - run[name])) for run in predictions])
        for name in ("without", "with")
    }
    results["log_loss_reduction"] = paired_bootstrap(
        mean_by_user(loss["without"] - loss["with"], user_N), samples, 1
    )
    return results


if __name__ == "__main__":
    sys.exit(main())
