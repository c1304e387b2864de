"""From a log of views to what segment interest learns from, and the training itself.

Legend: E views in order of time, B views of a batch, V videos, N segments, M segments watched before.
"""

import copy
import math
from collections import Counter, defaultdict, deque
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import trange

from models.segments import (
    FINISHED,
    SegmentCatalogue,
    SegmentInterest,
    Views,
    intra_video_loss,
    skip_metrics,
    skip_ranks,
    there,
)

SELECTED_BY = "ndcg@10"
FEWEST_VIEWS = 3  # a video with fewer training views has no ID of its own: it would only be learned by heart


@dataclass(frozen=True)
class Log:
    """Views in order of time.

    Attributes:
        user_E, video_E: rows, from 0. ended_ms_E: how far the person got. duration_ms_E: of the video.
    """

    user_E: np.ndarray
    video_E: np.ndarray
    ended_ms_E: np.ndarray
    duration_ms_E: np.ndarray


def segment_left(ended_ms: np.ndarray, duration_ms: np.ndarray, segment_ms: int) -> np.ndarray:
    """The segment with the last watched millisecond, or FINISHED; a view of nothing ended in the first."""
    last = np.maximum(-(-ended_ms // segment_ms) - 1, 0)
    return np.where(ended_ms >= duration_ms, FINISHED, last)


def make_views(log: Log, segment_ms: int, max_segments: int, history: int, trained: int) -> Views:
    """All views of the log; what a view knows of the person happened before it.

    Args:
        max_segments: N; who left later than that counts as having seen all of it.
        history: M, the newest segments watched before.
        trained: the first so many views are for training; users it has not, and rare videos, are unknown.
    """
    left_E = segment_left(log.ended_ms_E, log.duration_ms_E, segment_ms)
    left_E = np.where(left_E >= max_segments, FINISHED, left_E)
    seen_E = np.minimum(-(-np.minimum(log.ended_ms_E, log.duration_ms_E) // segment_ms), max_segments)
    watched_EM3 = np.zeros((len(left_E), history, 3), np.int64)
    length_E = np.zeros(len(left_E), np.int64)
    newest: dict[int, deque[tuple[int, int, bool]]] = defaultdict(lambda: deque(maxlen=history))
    for i, (user, video, seen) in enumerate(zip(log.user_E, log.video_E, seen_E, strict=True)):
        own = newest[int(user)]
        length_E[i] = len(own)
        if own:
            watched_EM3[i, : len(own)] = own
        own.extendleft((int(video), segment, segment == left_E[i]) for segment in range(int(seen)))
    known_users = set(log.user_E[:trained])
    known_videos = {
        v for v, count in Counter(log.video_E[:trained].tolist()).items() if count >= FEWEST_VIEWS
    }
    return Views(
        user_B=torch.tensor([u + 1 if u in known_users else 0 for u in log.user_E]),
        video_B=torch.from_numpy(log.video_E.astype(np.int64)),
        id_B=torch.tensor([v + 1 if v in known_videos else 0 for v in log.video_E]),
        left_B=torch.from_numpy(left_E.astype(np.int64)),
        watched_BM2=torch.from_numpy(watched_EM3[:, :, :2]),
        mask_BM=torch.arange(history) < torch.from_numpy(length_E)[:, None],
        ended_BM=torch.from_numpy(watched_EM3[:, :, 2] > 0),
    )


def fit(
    model: SegmentInterest,
    catalogue: SegmentCatalogue,
    train: Views,
    valid: Views,
    *,
    seed: int,
    epochs: int = 40,
    patience: int = 6,
    batch_size: int = 128,
    learning_rate: float = 0.003,
    weight_decay: float = 0.01,
) -> list[dict[str, float]]:
    """Train until validation no longer gains; the best epoch is kept. Returns the figures of each epoch.

    Where no view of validation ended early, all epochs are trained and the last is kept.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    best, kept, curve = -1.0, model.state_dict(), []
    with trange(epochs, desc="segments", unit="epoch") as bar:
        for epoch in bar:
            draw = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            order = torch.randperm(len(train.user_B), generator=draw)
            loss = np.mean(
                [_step(model, optimiser, train.take(b), catalogue) for b in order.split(batch_size)]
            )
            figure = float(measure(model, catalogue, valid)[SELECTED_BY].mean())
            curve.append({"loss": float(loss), SELECTED_BY: figure})
            bar.set_postfix(loss=f"{loss:.3f}", valid=f"{figure:.4f}")
            value = float(epoch) if math.isnan(figure) else figure
            if value > best:
                best, waited, kept = value, 0, copy.deepcopy(model.state_dict())
            elif (waited := waited + 1) >= patience:
                break
    model.load_state_dict(kept)
    return curve


@torch.no_grad()
def interest(model: SegmentInterest, catalogue: SegmentCatalogue, views: Views) -> Tensor:
    """p_BN of all views, a part at a time."""
    model.eval()
    rows = torch.arange(len(views.user_B)).split(1024)
    return torch.cat([model(views.take(part), catalogue) for part in rows])


def measure(model: SegmentInterest, catalogue: SegmentCatalogue, views: Views) -> dict[str, Tensor]:
    """HR@k and NDCG@k of skip prediction, one figure a view that ended early."""
    p_BN = interest(model, catalogue, views)
    return skip_metrics(skip_ranks(p_BN, views.left_B, there(views, catalogue)))


def _step(
    model: SegmentInterest, optimiser: torch.optim.Optimizer, views: Views, catalogue: SegmentCatalogue
) -> float:
    model.train()
    loss = intra_video_loss(model(views, catalogue), views.left_B, there(views, catalogue))
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach())
