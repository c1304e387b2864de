"""Training of segment interest."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from models import distributed
from models.data.segments import SegmentTable, SegmentViews
from models.segments.segment_interest import SegmentInterest, evaluate_skips, intra_video_loss
from models.training.trainer import Trainer, TrainingTask

SELECTION_METRIC = "ndcg@10"
# A video with fewer training views has no ID embedding, which would only memorise them.
MIN_VIEWS = 3

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # p_BT, exit_segment_B, mask_BT -> loss


def known_id_rows(video_E: Tensor, id_row_V: Tensor) -> Tensor:
    """Return the ID row of each video, and 0 for a video with fewer than `MIN_VIEWS` training views.

    Args:
        video_E: Row of the video of each training view.
        id_row_V: ID row of each video. 0 is unknown.
    """
    is_known_V = torch.bincount(video_E, minlength=len(id_row_V)) >= MIN_VIEWS
    return torch.where(is_known_V, id_row_V, 0)


def fit(
    model: SegmentInterest,
    segment_table: SegmentTable,
    train: SegmentViews,
    valid: Sequence[SegmentViews],
    *,
    seed: int,
    loss: Loss = intra_video_loss,
    epochs: int = 40,
    patience: int = 6,
    batch_size: int = 128,
    learning_rate: float = 0.003,
    weight_decay: float = 0.01,
) -> list[dict[str, float]]:
    """Train until validation stops improving, and keep the weights of the best epoch.

    If no validation view ended early, all epochs are trained and the last one is kept.

    Args:
        model: Trained in place.
        segment_table: The segments of all videos.
        train: Training views.
        valid: Validation views, in one or more parts.
        seed: Of the batches.
        loss: What is minimised: `intra_video_loss` as in the paper, or `exit_loss`.
        epochs: Most epochs to train.
        patience: Epochs without improvement before training stops.
        batch_size: Views in a batch.
        learning_rate: Of AdamW.
        weight_decay: Of AdamW.

    Returns:
        The curve, as in `Trainer.fit`.

    Raises:
        FloatingPointError: A loss or gradient is not finite.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    task = SegmentTask(model, segment_table, train, valid, loss, seed, batch_size)
    return Trainer(task, optimizer, epochs=epochs, patience=patience, clip_norm=1.0).fit()


class SegmentTask(TrainingTask):
    """Training of segment interest. Validation predicts where users leave.

    Args:
        model: Trained in place.
        segment_table: The segments of all videos.
        train: Training views.
        valid: Validation views, in one or more parts.
        loss: What is minimised.
        seed: Of the batches.
        batch_size: Views in a batch.
    """

    name, selection_metric = "segments", SELECTION_METRIC

    def __init__(
        self,
        model: SegmentInterest,
        segment_table: SegmentTable,
        train: SegmentViews,
        valid: Sequence[SegmentViews],
        loss: Loss,
        seed: int,
        batch_size: int,
    ) -> None:
        self.model: SegmentInterest = model
        self.segment_table, self.train, self.valid = segment_table, train, valid
        self.loss, self.seed, self.batch_size = loss, seed, batch_size

    def epoch_batches(self, epoch: int) -> list[Tensor]:
        """Return the rows of the training views, in batches."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return list(torch.randperm(len(self.train), generator=generator).split(self.batch_size))

    def losses(self, rows_B: Tensor) -> dict[str, Tensor]:
        """Return the loss of a batch. Every process has the whole batch, so its part is a share."""
        batch = self.train.select(rows_B).batch()
        p_BT, mask_BT = self.model(batch, self.segment_table), self.segment_table.mask(batch.video_B)
        return {"total": self.loss(p_BT, batch.exit_segment_B, mask_BT) / distributed.get_world_size()}

    def validate(self) -> dict[str, float]:
        """Return NDCG@10 of skip prediction. Empty if no validation view ended early."""
        parts = [
            evaluate_skips(self.model, self.segment_table, part)[SELECTION_METRIC] for part in self.valid
        ]
        metric = float(torch.cat(parts).mean()) if parts else math.nan
        return {} if math.isnan(metric) else {SELECTION_METRIC: metric}
