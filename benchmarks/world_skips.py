"""In which segment will this person leave? Ours against positions alone and IDs alone, on the world's last day.

Legend: E viewings in order of time, V videos, N segments.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from benchmarks.world_lake import segments
from models.determinism import settle
from models.segment_views import Log, fit, interest, make_views
from models.segments import (
    SegmentCatalogue,
    SegmentInterest,
    Views,
    position_only,
    skip_metrics,
    skip_ranks,
    there,
)
from tasks.pinned import Pinned

SEGMENT_MS = 5000
MAX_SEGMENTS, HISTORY = 40, 30  # N of the paper; its M of 100 costs ten times as much
TRAINING = {"epochs": 12, "patience": 3, "batch_size": 512}


@dataclass(frozen=True)
class Skips:
    """The views of a world, cut by day as the night is; `row_E` are their rows in the table of viewings."""

    train: Views
    valid: Views
    test: Views
    valid_row_E: np.ndarray
    test_row_E: np.ndarray
    catalogue: SegmentCatalogue
    people: int
    most: int


def prepare(pinned: Pinned, table: pa.Table) -> Skips:
    """All views with a known length: those up to the training's end, of the validation day and the test day."""
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
    night = (pinned.night.day - _EPOCH).days
    cut = np.searchsorted(day_E, [night - 1, night])
    most = int(min(MAX_SEGMENTS, -(-length_V.max() // SEGMENT_MS)))
    views = make_views(log, SEGMENT_MS, most, HISTORY, int(cut[0]))
    train, valid, test = (views.take(part) for part in torch.arange(len(row_E)).tensor_split(cut.tolist()))
    count_V = torch.from_numpy(-(-length_V // SEGMENT_MS)).clamp(max=most)
    return Skips(
        train,
        valid,
        test,
        row_E[cut[0] : cut[1]],
        row_E[cut[1] :],
        segments(pinned, count_V, most),
        pinned.users.num_rows,
        most,
    )


_EPOCH = __import__("datetime").date(1970, 1, 1)


def train(skips: Skips, seed: int, content: bool = True) -> SegmentInterest:
    """A trained model: of content and IDs, or of IDs alone."""
    settle(seed)
    catalogue = skips.catalogue
    widths = {m: x.shape[2] for m, x in catalogue.features.items()} if content else {}
    model = SegmentInterest(widths, skips.people, len(catalogue.length_V), skips.most)
    fit(model, catalogue, skips.train, skips.valid, seed=seed, **TRAINING)
    return model


def measured(model: SegmentInterest | None, skips: Skips) -> dict[str, Tensor]:
    """HR@k and NDCG@k of every view of the test day that ended early; no model: positions only."""
    test = skips.test
    if model is None:
        p_BN = position_only(skips.train, skips.most).expand(len(test.user_B), -1)
    else:
        p_BN = interest(model, skips.catalogue, test)
    return skip_metrics(skip_ranks(p_BN, test.left_B, there(test, skips.catalogue)))
