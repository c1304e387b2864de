"""Training of the projections that align the modalities.

The loss is InfoNCE between the modalities of a video. An anchor keeps the projections near the champion's.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from core.config.model_half import AlignConfig
from models import distributed
from models.data.items import ItemTable
from models.evaluation.embedding_drift import max_p95_drift
from models.evaluation.modality_retrieval import retrieval_metrics
from models.layers.projections import ModalityProjections
from models.losses.info_nce import NearDuplicates, anchor_loss, info_nce_loss
from models.training.trainer import Callback, Trainer, TrainingTask
from snapshots.champion_space import ChampionSpace
from snapshots.reader import SnapshotReader

# Retrieval is measured on at most so many held-out videos, so that nights of any size can be compared.
MAX_RETRIEVAL_VIDEOS = 2048


def warm_start(champion_projections: ModalityProjections) -> ModalityProjections:
    """Return a trainable copy of the champion's projections, with their statistics and temperature."""
    return copy.deepcopy(champion_projections).requires_grad_(True)


def cold_start(params: AlignConfig, snapshot: SnapshotReader, item_table: ItemTable) -> ModalityProjections:
    """Return new projections. Each standardises by the training videos that have its modality."""
    projections = ModalityProjections(snapshot.widths, params.width, params.temperature)
    train_rows = snapshot.alignment_rows
    for i, (name, projection) in enumerate(projections.heads.items()):
        present_rows = train_rows[item_table.has_VM[train_rows, i]]
        if len(present_rows):
            projection.init_from_statistics(item_table.modality_features[name][present_rows])  # type: ignore[operator]
    return projections


def train_projections(
    projections: ModalityProjections,
    champion: ChampionSpace,
    item_table: ItemTable,
    snapshot: SnapshotReader,
    params: AlignConfig,
) -> list[dict[str, float]]:
    """Train the projections and keep the last epoch whose embedding drift is within the bound.

    If no epoch is within the bound, the initial projections are kept.

    Args:
        projections: Trained in place.
        champion: Reference of the anchor and of embedding drift.
        item_table: The catalogue.
        snapshot: Names the videos to train on.
        params: Section `align` of params.yaml.

    Returns:
        The curve, as in `Trainer.fit`, with `temperature` and `max_p95_drift`. Empty if there are fewer than
        two modalities or no videos to train on.

    Raises:
        FloatingPointError: A loss or gradient is not finite.
    """
    if len(projections.heads) < 2 or not len(snapshot.alignment_rows):
        return []
    optimizer = torch.optim.AdamW(projections.parameters(), lr=params.learning_rate)
    task = AlignmentTask(projections, champion, item_table, snapshot.alignment_rows, params)
    return Trainer(task, optimizer, epochs=params.epochs, callbacks=[ClampTemperature(projections)]).fit()


class AlignmentTask(TrainingTask):
    """Training of the projections on batches of videos. Validation measures embedding drift."""

    name, learning_rate_name = "align", "align.learning_rate"

    def __init__(
        self,
        projections: ModalityProjections,
        champion: ChampionSpace,
        item_table: ItemTable,
        train_rows: Tensor,
        params: AlignConfig,
    ) -> None:
        self.model: ModalityProjections = projections
        self.champion, self.item_table = champion, item_table
        self.train_rows, self.params = train_rows, params

    def epoch_batches(self, epoch: int) -> list[Tensor]:
        """Return the rows of this process in the catalogue, in batches."""
        generator = torch.Generator().manual_seed(self.params.seed * 1_000_003 + epoch)
        order = self.train_rows[torch.randperm(len(self.train_rows), generator=generator)]
        return [distributed.pad_and_shard(rows) for rows in order.split(self.params.batch_size)]

    def losses(self, rows_B: Tensor) -> dict[str, Tensor]:
        batch = self.item_table.select(rows_B)
        x_VMD = self.model(batch)
        near_duplicates = NearDuplicates(
            self.model.standardised_features(batch), self.params.near_duplicate_cosine
        )
        loss = info_nce_loss(x_VMD, batch.has_VM, self.model.temperature, near_duplicates)
        if self.champion.projections is not None:
            reference_VMD = self.champion.projections(batch)
            loss = loss + self.params.anchor_weight * anchor_loss(x_VMD, reference_VMD, batch.has_VM)
        return {"total": loss}

    def validate(self) -> dict[str, float]:
        drift = max_p95_drift(self.champion.embedding_drift(self.model))
        return {"temperature": self.model.temperature.item(), "max_p95_drift": drift}

    def selection_value(self, row: Mapping[str, float]) -> float:
        """Return the number of an epoch within the bound of embedding drift, else −∞."""
        return row["epoch"] if row["max_p95_drift"] <= self.params.max_embedding_drift else -math.inf


class ClampTemperature(Callback):
    """Keeps the learned temperature within its bounds."""

    def __init__(self, projections: ModalityProjections) -> None:
        self.projections = projections

    def on_step_end(self, trainer: Trainer) -> None:
        self.projections.clamp_temperature()


@torch.no_grad()
def measure_alignment(
    projections: ModalityProjections,
    champion: ChampionSpace,
    item_table: ItemTable,
    snapshot: SnapshotReader,
    params: AlignConfig,
) -> dict[str, Any]:
    """Return the reported metrics of the projections.

    Returns:
        Number of training videos, temperature, retrieval between the modalities of held-out videos, and
        embedding drift on the probe videos.
    """
    held_out = item_table.select(snapshot.held_out_rows[:MAX_RETRIEVAL_VIDEOS])
    near_duplicates = NearDuplicates(
        projections.standardised_features(held_out), params.near_duplicate_cosine
    )
    return {
        "num_train_videos": len(snapshot.alignment_rows),
        "temperature": projections.temperature.item(),
        "modality_pairs": retrieval_metrics(
            projections(held_out), held_out.has_VM, near_duplicates, list(projections.heads)
        ),
        "embedding_drift": champion.embedding_drift(projections),
    }
