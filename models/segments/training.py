"""Training data and training of segment interest, from a log of interactions."""

import math
from collections import Counter, defaultdict, deque

import numpy as np
import torch
from torch import Tensor

from models.data.interaction_log import InteractionLog
from models.segments.segment_interest import (
    WATCHED_TO_END,
    SegmentInteractions,
    SegmentInterest,
    SegmentTable,
    intra_video_loss,
    segment_mask,
    skip_metrics,
    skip_ranks,
)
from models.training.trainer import Trainer, TrainingTask

SELECTION_METRIC = "ndcg@10"
# A video with fewer training interactions has no ID embedding, which would only memorise them.
MIN_INTERACTIONS = 3


def exit_segment(watched_ms: np.ndarray, duration_ms: np.ndarray, segment_ms: int) -> np.ndarray:
    """Return the segment with the last watched millisecond. It is the first if nothing was watched.

    Args:
        watched_ms: Position at which the user left.
        duration_ms: Duration of the video.
        segment_ms: Length of a segment.

    Returns:
        The number of the segment from 0, or WATCHED_TO_END.
    """
    last_segment = np.maximum(-(-watched_ms // segment_ms) - 1, 0)
    return np.where(watched_ms >= duration_ms, WATCHED_TO_END, last_segment)


def build_segment_interactions(
    interactions: InteractionLog, segment_ms: int, max_segments: int, history_length: int, num_train: int
) -> SegmentInteractions:
    """Return all interactions of the log with what the user watched before each.

    Args:
        interactions: In order of time.
        segment_ms: Length of a segment.
        max_segments: Segments of a video that the model reads. A user who left later counts as having watched
            to the end.
        history_length: O, the number of newest segments that the user watched before.
        num_train: The first `num_train` interactions are for training. Users without one are unknown, and so
            are videos with fewer than `MIN_INTERACTIONS`.
    """
    exit_segment_E = exit_segment(interactions.watched_ms_E, interactions.duration_ms_E, segment_ms)
    exit_segment_E = np.where(exit_segment_E >= max_segments, WATCHED_TO_END, exit_segment_E)
    num_watched_E = np.minimum(
        -(-np.minimum(interactions.watched_ms_E, interactions.duration_ms_E) // segment_ms), max_segments
    )
    history_EO3 = np.zeros((len(exit_segment_E), history_length, 3), np.int64)
    history_length_E = np.zeros(len(exit_segment_E), np.int64)
    history_by_user: dict[int, deque[tuple[int, int, bool]]] = defaultdict(
        lambda: deque(maxlen=history_length)
    )
    for i, (user, video, num_watched) in enumerate(
        zip(interactions.user_E, interactions.video_E, num_watched_E, strict=True)
    ):
        user_history = history_by_user[int(user)]
        history_length_E[i] = len(user_history)
        if user_history:
            history_EO3[i, : len(user_history)] = user_history
        user_history.extendleft(
            (int(video), segment, segment == exit_segment_E[i]) for segment in range(int(num_watched))
        )
    known_users = set(interactions.user_E[:num_train])
    train_counts = Counter(interactions.video_E[:num_train].tolist())
    known_videos = {video for video, count in train_counts.items() if count >= MIN_INTERACTIONS}
    return SegmentInteractions(
        user_B=torch.tensor([u + 1 if u in known_users else 0 for u in interactions.user_E]),
        video_B=torch.from_numpy(interactions.video_E.astype(np.int64)),
        id_row_B=torch.tensor([v + 1 if v in known_videos else 0 for v in interactions.video_E]),
        exit_segment_B=torch.from_numpy(exit_segment_E.astype(np.int64)),
        history_BO2=torch.from_numpy(history_EO3[:, :, :2]),
        history_mask_BO=torch.arange(history_length) < torch.from_numpy(history_length_E)[:, None],
        history_exit_BO=torch.from_numpy(history_EO3[:, :, 2] > 0),
    )


def fit(
    model: SegmentInterest,
    segment_table: SegmentTable,
    train: SegmentInteractions,
    valid: SegmentInteractions,
    *,
    seed: int,
    epochs: int = 40,
    patience: int = 6,
    batch_size: int = 128,
    learning_rate: float = 0.003,
    weight_decay: float = 0.01,
) -> list[dict[str, float]]:
    """Train until validation stops improving, and keep the weights of the best epoch.

    If no validation interaction ended early, all epochs are trained and the last one is kept.

    Args:
        model: Trained in place.
        segment_table: The segments of all videos.
        train: Training interactions.
        valid: Validation interactions.
        seed: Of the batches.
        epochs: Most epochs to train.
        patience: Epochs without improvement before training stops.
        batch_size: Interactions in a batch.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.

    Returns:
        The curve, as in `Trainer.fit`.

    Raises:
        FloatingPointError: A loss or gradient is not finite.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    task = SegmentTask(model, segment_table, train, valid, seed, batch_size)
    return Trainer(task, optimizer, epochs=epochs, patience=patience, clip_norm=1.0).fit()


class SegmentTask(TrainingTask):
    """Training of segment interest. Validation predicts where users leave.

    Args:
        model: Trained in place.
        segment_table: The segments of all videos.
        train: Training interactions.
        valid: Validation interactions.
        seed: Of the batches.
        batch_size: Interactions in a batch.
    """

    name, selection_metric = "segments", SELECTION_METRIC

    def __init__(
        self,
        model: SegmentInterest,
        segment_table: SegmentTable,
        train: SegmentInteractions,
        valid: SegmentInteractions,
        seed: int,
        batch_size: int,
    ) -> None:
        self.model: SegmentInterest = model
        self.segment_table, self.train, self.valid = segment_table, train, valid
        self.seed, self.batch_size = seed, batch_size

    def epoch_batches(self, epoch: int) -> list[Tensor]:
        """Return the rows of the training interactions, in batches."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return list(torch.randperm(len(self.train.user_B), generator=generator).split(self.batch_size))

    def losses(self, rows_B: Tensor) -> dict[str, Tensor]:
        batch = self.train.select(rows_B)
        mask_BT = segment_mask(batch, self.segment_table)
        return {
            "total": intra_video_loss(self.model(batch, self.segment_table), batch.exit_segment_B, mask_BT)
        }

    def validate(self) -> dict[str, float]:
        """Return NDCG@10 of skip prediction. Empty if no validation interaction ended early."""
        metric = float(evaluate_skips(self.model, self.segment_table, self.valid)[SELECTION_METRIC].mean())
        return {} if math.isnan(metric) else {SELECTION_METRIC: metric}


@torch.no_grad()
def predict_interest(
    model: SegmentInterest, segment_table: SegmentTable, interactions: SegmentInteractions
) -> Tensor:
    """Return the interest p_BT in each segment of the video of each interaction."""
    model.eval()
    rows = torch.arange(len(interactions.user_B)).split(1024)
    return torch.cat([model(interactions.select(rows_b), segment_table) for rows_b in rows])


def evaluate_skips(
    model: SegmentInterest, segment_table: SegmentTable, interactions: SegmentInteractions
) -> dict[str, Tensor]:
    """Return HR@k and NDCG@k of skip prediction, one value for each interaction that ended early."""
    p_BT = predict_interest(model, segment_table, interactions)
    mask_BT = segment_mask(interactions, segment_table)
    return skip_metrics(skip_ranks(p_BT, interactions.exit_segment_B, mask_BT))
