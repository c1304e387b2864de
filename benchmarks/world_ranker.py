"""Are a person's segment scores worth something to the ranking heads? With and without, on the test day.

What the heads foretell and what the segments say of a viewing are joined by a logistic regression that is
fitted on the validation day. It is the cheapest second stage there is: where it gains nothing, the night need
not carry the scores.

Legend: N viewings, H heads, C columns.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from benchmarks.world_skips import SEGMENT_MS, Skips, by_person
from models.metrics import Floats, auc, bootstrap, log_loss
from models.ranking import COMPLETE_FROM
from models.ranking import HEADS as ALL
from models.scoring import Scorer, behaviour_logits
from models.segment_views import interest
from models.segments import SegmentInterest, Views, there
from tasks.pinned import Pinned

HEADS = ("complete", "like", "skip")  # those that are read
SKIP_BELOW = 0.2


def figures(
    pinned: Pinned,
    table: pa.Table,
    skips: Skips,
    scorers: Sequence[Scorer],
    models: Sequence[SegmentInterest],
    samples: int,
) -> dict:
    """AUC and log loss of each label without and with segment scores; the gain in log loss by person."""
    labels = {
        part: _labels(pinned, table, skips, rows)
        for part, rows in (("valid", skips.valid_row_E), ("test", skips.test_row_E))
    }
    before = replace(scorers[0].people, histories=pinned.histories("train"), seen=pinned.seen("train"))
    found: dict = {}
    runs = [
        (
            _columns(replace(scorer, people=before), model, skips, skips.valid, table, skips.valid_row_E),
            _columns(scorer, model, skips, skips.test, table, skips.test_row_E),
        )
        for scorer, model in zip(scorers, models, strict=True)
    ]
    for label in labels["test"]:
        fitted = [
            {
                name: _foretold(valid[:, :width], labels["valid"][label], test[:, :width])
                for name, width in (("without", len(HEADS)), ("with", valid.shape[1]))
            }
            for valid, test in runs
        ]
        found[label] = _compare(fitted, labels["test"][label], skips.user_E, samples)
    return found


def _columns(
    scorer: Scorer, model: SegmentInterest, skips: Skips, views: Views, table: pa.Table, rows: np.ndarray
) -> Floats:
    """What the heads say of each viewing, then what the segments do [N, C]."""
    user_N = torch.from_numpy(table["user_row"].to_numpy()[rows].astype(np.int64))
    video_N = torch.from_numpy(table["video_row"].to_numpy()[rows].astype(np.int64))
    logit_NH = behaviour_logits(scorer, user_N, video_N)[:, [ALL.index(name) for name in HEADS]]
    p_BN, there_BN = interest(model, skips.catalogue, views), there(views, skips.catalogue)
    return torch.cat([logit_NH, summary(p_BN, there_BN)], 1).double().numpy()


def summary(p_BN: Tensor, there_BN: Tensor) -> Tensor:
    """What the scores p of a video's segments say of the whole of it [B, 4].

    The mean, the least and the first; and the share that is watched, if σ(p) is the chance to stay.
    """
    p_BN = p_BN.masked_fill(~there_BN, 0.0)
    count_B = there_BN.sum(1)
    stays_BN = torch.where(there_BN, torch.sigmoid(p_BN), 0.0).cumprod(1)
    least_B = p_BN.masked_fill(~there_BN, torch.inf).min(1).values
    return torch.stack([p_BN.sum(1) / count_B, least_B, p_BN[:, 0], stays_BN.sum(1) / count_B], 1)


def _labels(pinned: Pinned, table: pa.Table, skips: Skips, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Label -> whether it happened [N]; an effective view beats the median of its duration bucket."""
    duration_V = np.array([ms or 0 for ms in pinned.videos["duration_ms"].to_pylist()])
    ratio_N = table["watch_ratio"].to_numpy()
    bucket_N = duration_V[table["video_row"].to_numpy()] // SEGMENT_MS
    past = np.isin(np.arange(len(ratio_N)), [*skips.valid_row_E, *skips.test_row_E], invert=True)
    median = {b: np.nanmedian(ratio_N[past & (bucket_N == b)]) for b in np.unique(bucket_N[past])}
    usual_N = np.array([median.get(b, 1.0) for b in bucket_N[rows]])
    return {
        "complete": ratio_N[rows] >= COMPLETE_FROM,
        "effective": ratio_N[rows] > usual_N,
        "skip": ratio_N[rows] < SKIP_BELOW,
    }


def _foretold(valid_NC: Floats, label_N: np.ndarray, test_NC: Floats) -> Floats:
    scaler = StandardScaler().fit(valid_NC)
    model = LogisticRegression().fit(scaler.transform(valid_NC), label_N)
    return model.predict_proba(scaler.transform(test_NC))[:, 1]


def _compare(
    fitted: Sequence[dict[str, Floats]], label_N: np.ndarray, user_N: np.ndarray, samples: int
) -> dict:
    told: dict = {"viewings": len(label_N), "share": round(float(label_N.mean()), 4)}
    for name in ("without", "with"):
        told[f"auc_{name}"] = round(float(np.mean([auc(run[name], label_N) for run in fitted])), 4)
        told[f"log_loss_{name}"] = round(float(np.mean([log_loss(run[name], label_N) for run in fitted])), 4)
    loss = {
        name: np.stack([-np.log(np.where(label_N, run[name], 1 - run[name])) for run in fitted])
        for name in ("without", "with")
    }
    told["log_loss_saved"] = bootstrap(by_person(loss["without"] - loss["with"], user_N), samples, 1)
    return told
