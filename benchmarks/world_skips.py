"""In which segment will this person leave? Ours, positions alone and IDs alone, on the last day.

Legend: E viewings in order of time, V videos, N segments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from benchmarks.world_lake import segments
from models.determinism import settle
from models.metrics import Floats, bootstrap
from models.segment_views import Log, fit, interest, make_views
from models.segments import (
    FINISHED,
    SegmentCatalogue,
    SegmentInterest,
    Views,
    position_only,
    skip_metrics,
    skip_ranks,
    there,
)
from tasks.pinned import Pinned

EPOCH = date(1970, 1, 1)
SEGMENT_MS = 5000
MAX_SEGMENTS, HISTORY = 40, 30  # N of the paper; its M of 100 costs ten times as much
EPOCHS, PATIENCE, BATCH = 5, 2, 512
NEWEST = 60_000  # training views that are learned from


@dataclass(frozen=True)
class Skips:
    """The views of a world, cut by day as the night is.

    row_E: their rows in the table of viewings. user_E: the people of the test's views.
    most: N of the longest video.
    """

    train: Views
    valid: Views
    test: Views
    valid_row_E: np.ndarray
    test_row_E: np.ndarray
    user_E: np.ndarray
    catalogue: SegmentCatalogue
    people: int
    most: int


def prepare(pinned: Pinned, table: pa.Table) -> Skips:
    """All views of a known length: up to the end of training, of the validation day, of the test day."""
    length_V = np.array([d or 0 for d in pinned.videos["duration_ms"].to_pylist()])
    watched_E = table["watched_ms"].to_numpy(zero_copy_only=False)
    video_E, start_E = table["video_row"].to_numpy(), table["started_at"].cast(pa.int64()).to_numpy()
    usable_E = ~np.isnan(watched_E.astype(float)) & (length_V[video_E] > 0)
    row_E = np.flatnonzero(usable_E)
    row_E = row_E[np.argsort(start_E[row_E], kind="stable")]
    day_E = table["day"].cast(pa.int32()).to_numpy()[row_E]
    log = Log(
        table["user_row"].to_numpy()[row_E],
        video_E[row_E],
        watched_E[row_E].astype(np.int64),
        length_V[video_E[row_E]],
    )
    night = (pinned.night.day - EPOCH).days
    cut = np.searchsorted(day_E, [night - 1, night])
    most = int(min(MAX_SEGMENTS, -(-length_V.max() // SEGMENT_MS)))
    views = make_views(log, SEGMENT_MS, most, HISTORY, int(cut[0]))
    rows = torch.arange(len(row_E)).tensor_split(cut.tolist())
    train, valid, test = (views.take(part) for part in (rows[0][-NEWEST:], *rows[1:]))
    count_V = torch.from_numpy(-(-length_V // SEGMENT_MS)).clamp(max=most)
    return Skips(
        train,
        valid,
        test,
        row_E[cut[0] : cut[1]],
        row_E[cut[1] :],
        log.user_E[cut[1] :],
        segments(pinned, count_V, most),
        pinned.users.num_rows,
        most,
    )


def train(skips: Skips, seed: int, content: bool = True) -> SegmentInterest:
    """A trained model: of content and IDs, or of IDs alone."""
    settle(seed)
    catalogue = skips.catalogue
    widths = {m: x.shape[2] for m, x in catalogue.features.items()} if content else {}
    model = SegmentInterest(widths, skips.people, len(catalogue.length_V), skips.most)
    fit(
        model,
        catalogue,
        skips.train,
        skips.valid,
        seed=seed,
        epochs=EPOCHS,
        patience=PATIENCE,
        batch_size=BATCH,
    )
    return model


def figures(skips: Skips, seeds: Sequence[int], samples: int) -> tuple[dict, list[SegmentInterest]]:
    """HR@1 and NDCG@10 of each, their differences by person and seed; and the trained models."""
    ours = [train(skips, seed) for seed in seeds]
    alone = [train(skips, seed, content=False) for seed in seeds]
    found = {
        "ours": [_measured(model, skips) for model in ours],
        "ids_only": [_measured(model, skips) for model in alone],
        "position_only": [_measured(None, skips)] * len(seeds),
    }
    user_E = skips.user_E[_open(skips)]
    told: dict = {"views": len(user_E), "people": len(np.unique(user_E))}
    for name in ("hr@1", "ndcg@10"):
        of = {who: np.stack([run[name] for run in runs]) for who, runs in found.items()}
        told[name] = {who: round(float(values_SE.mean()), 4) for who, values_SE in of.items()}
        for baseline in ("position_only", "ids_only"):
            difference_SB = by_person(of["ours"] - of[baseline], user_E)
            told[f"{name}_ours_minus_{baseline}"] = bootstrap(difference_SB, samples, 1)
    return told, ours


def _measured(model: SegmentInterest | None, skips: Skips) -> dict[str, Floats]:
    """HR@k and NDCG@k of every view of the test day that could go wrong; no model: positions only."""
    test = skips.test
    if model is None:
        p_BN = position_only(skips.train, skips.most).expand(len(test.user_B), -1)
    else:
        p_BN = interest(model, skips.catalogue, test)
    rank_E = skip_ranks(p_BN, test.left_B, there(test, skips.catalogue))
    several_E = _several(skips)[test.left_B != FINISHED]
    return {name: value_E[several_E].double().numpy() for name, value_E in skip_metrics(rank_E).items()}


def _several(skips: Skips) -> Tensor:
    """The test views of videos with more than one segment: with one, every score is right."""
    return skips.catalogue.length_V[skips.test.video_B] > 1


def _open(skips: Skips) -> np.ndarray:
    """The test views that are measured."""
    return (_several(skips) & (skips.test.left_B != FINISHED)).numpy()


def by_person(value_SE: Floats, user_E: np.ndarray) -> Floats:
    """Mean of each person's values [S, B]."""
    _, at_E, count_B = np.unique(user_E, return_inverse=True, return_counts=True)
    return np.stack([np.bincount(at_E, value_E) / count_B for value_E in value_SE])
