"""What does the context of a request tell about behaviours that a trained model does not know?

A ridge logistic regression has the logit of a ranking head as one input, and each context value alone and
times the log duration of the video as the others. It is fitted on the validation days and measured on the
test day. Without contexts it only rescales the logit, which is the control.

    python -m research.studies.request_contexts --night 2026-03-12 --workspace DIR
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from core.paths import Night, parse_day
from core.time_split import TEST_FOLD
from models.bundle import load_bundle
from models.data.targets import BEHAVIOUR_HEADS, behaviour_labels
from models.evaluation.metrics import auc, log_loss
from models.evaluation.scoring import Scorer, behaviour_logits
from models.interest_model import InterestModel
from snapshots.reader import SnapshotReader
from training.model_config import request_vocabularies

HEADS = ("complete", "like", "skip")
RIDGE = 10.0  # penalty of the weight of a context value
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DayOfRequests:
    """The interactions of a day.

    Attributes:
        logit_NH: Logits of the ranking heads, without contexts.
        label_NH, known_NH: Labels, and whether each is known.
        context_NJX: One-hot codes of each context.
        log_duration_N: Log of the seconds of the video. An unknown duration counts as the mean.
    """

    logit_NH: Floats
    label_NH: NDArray[np.bool_]
    known_NH: NDArray[np.bool_]
    context_NJX: Sequence[Floats]
    log_duration_N: Floats


def read_day(
    snapshot: SnapshotReader, model: InterestModel, fold: str, names: Sequence[str]
) -> DayOfRequests:
    """Return the interactions of the day of a fold with what a model predicts for them."""
    config, inputs, day = model.config, snapshot.fold(fold, model.config), snapshot.interactions(fold)
    labels, known = behaviour_labels(
        day.watch_ratio_N,
        ~day.watch_ratio_N.isnan(),
        day.behaviour_NA,
        config.behaviours,
        config.skip_watch_ratio,
    )
    vocabularies = request_vocabularies(names, snapshot, TEST_FOLD)
    codes = snapshot.request_contexts(fold, replace(config, request_contexts=vocabularies)).numpy()
    seconds_V = inputs.item_table.duration_V
    log_duration_N = np.zeros(len(codes)) if seconds_V is None else seconds_V[day.video_N].log().numpy()
    scorer = Scorer(model, inputs.item_table, inputs.users, inputs.day)
    return DayOfRequests(
        behaviour_logits(scorer, day.user_N, day.video_N).double().numpy(),
        labels.numpy(),
        known.numpy(),
        [np.eye(len(values) + 1)[codes[:, j]] for j, values in enumerate(vocabularies.values())],
        np.nan_to_num(log_duration_N, nan=float(np.nanmean(log_duration_N))),
    )


def features(day: DayOfRequests, contexts: Sequence[int]) -> Floats:
    """Return the chosen contexts, and their products with the log duration, [N, F]."""
    if not contexts:
        return np.zeros((len(day.log_duration_N), 0))
    one_hot_NX = np.concatenate([day.context_NJX[j] for j in contexts], 1)
    z_N = (day.log_duration_N - day.log_duration_N.mean()) / (day.log_duration_N.std() + 1e-9)
    return np.concatenate([one_hot_NX, one_hot_NX * z_N[:, None]], 1)


def fit_logistic(logit_N: Floats, x_NF: Floats, label_N: NDArray[np.bool_]) -> Floats:
    """Return scale and offset of the logit, and one weight for each feature, which alone has a penalty."""
    x_NX = np.column_stack([logit_N, np.ones(len(logit_N)), x_NF])
    penalty_X = np.array([0.0, 0.0, *[RIDGE] * x_NF.shape[1]])

    def loss_and_gradient(weight_X: Floats) -> tuple[float, Floats]:
        score_N = x_NX @ weight_X
        loss = np.logaddexp(0, score_N).sum() - score_N[label_N].sum() + penalty_X @ weight_X**2 / 2
        return float(loss), x_NX.T @ (expit(score_N) - label_N) + penalty_X * weight_X

    start_X = np.eye(x_NX.shape[1])[0]
    return minimize(loss_and_gradient, start_X, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x


def measure(train: Sequence[DayOfRequests], test: DayOfRequests, head: str, contexts: Sequence[int]) -> dict:
    """Return AUC and log loss of a head on the test day, with some contexts."""
    column = BEHAVIOUR_HEADS.index(head)
    parts = [
        (day.logit_NH[known_N, column], features(day, contexts)[known_N], day.label_NH[known_N, column])
        for day in train
        if (known_N := day.known_NH[:, column]).any()
    ]
    logit_N, x_NF, label_N = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    weight_X = fit_logistic(logit_N, x_NF, label_N)
    known_N = test.known_NH[:, column]
    score_N = np.column_stack(
        [test.logit_NH[known_N, column], np.ones(known_N.sum()), features(test, contexts)[known_N]]
    )
    p_N, label_N = expit(score_N @ weight_X), test.label_NH[known_N, column]
    return {"auc": auc(p_N, label_N), "log_loss": log_loss(p_N, label_N), "num_interactions": len(p_N)}


def main() -> int:
    """Run the study on a night after the step train. Return 0."""
    parser = argparse.ArgumentParser(prog="python -m research.studies.request_contexts", description=__doc__)
    parser.add_argument("--night", required=True, help="YYYY-MM-DD")
    parser.add_argument("--workspace", type=Path, required=True, help="folder of the night")
    parser.add_argument(
        "--contexts", nargs="+", default=("hour", "device", "network", "depth", "city_tier"), metavar="NAME"
    )
    args = parser.parse_args()
    snapshot = SnapshotReader(Night(parse_day(args.night), args.workspace))
    model = load_bundle(args.workspace / "train")
    assert isinstance(model, InterestModel)
    *train, test = (
        read_day(snapshot, model, fold, args.contexts) for fold in (*snapshot.validation_folds, TEST_FOLD)
    )
    every = range(len(args.contexts))
    chosen = {"none": (), **{args.contexts[j]: (j,) for j in every}, "all": tuple(every)}
    for head in HEADS:
        for name, contexts in chosen.items():
            figures = measure(train, test, head, contexts)
            print(f"{head} {name}: AUC {figures['auc']:.4f}, log loss {figures['log_loss']:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
