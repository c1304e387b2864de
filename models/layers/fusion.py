"""Item embeddings: modality embeddings, their fusion before all else, and ID embeddings.

A modality that a video lacks is masked before the softmax. So the values of its features cannot matter.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.data.items import (
    COUNT_BUCKETS,
    ItemEmbeddings,
    ItemTable,
    count_bucket,
    embedding_lookup,
    impute_with_mask,
)
from models.layers.adaptive_normalisation import ContentNormalisation
from models.layers.cross_modal import CrossFusion, TokenFusion
from models.layers.projections import ModalityProjections
from models.layers.reliability import ModalityReliability

ID_INIT_STD = 0.04  # standard deviation of the ID embeddings before training
POPULARITY_SMOOTHING = 0.1  # users that are added to those who liked a video, so that the log is finite


class EarlyFusion(nn.Module):
    """Joins all modalities into one vector: LayerNorm(W [x̃₁; …; x̃_M; has])."""

    def __init__(self, num_modalities: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_modalities * (width + 1), width, bias=False)
        self.norm = nn.LayerNorm(width)

    def forward(self, x_VMD: Tensor, item_table: ItemTable, projections: ModalityProjections) -> Tensor:
        """Return x_VMD with the joint vector in place of each existing modality."""
        has_VM = item_table.has_VM
        joint_VD = self.norm(self.linear(torch.cat([x_VMD.flatten(1), has_VM.float()], 1)))
        return torch.where(has_VM[:, :, None], joint_VD[:, None, :], 0.0)


def build_early_fusion(level: str, num_modalities: int, width: int, num_words: int) -> nn.Module | None:
    """Build what fuses the modalities of a video before the modality weights. None: this level has nothing.

    Args:
        level: The level of fusion (models/interest_model.py).
        num_modalities: M. With 0, no level has anything.
        width: D.
        num_words: Words that `tokens` knows.
    """
    if not num_modalities or level not in ("early", "cross", "tokens"):
        return None
    if level == "cross":
        return CrossFusion(width)
    if level == "tokens":
        return TokenFusion(num_modalities, num_words, width)
    return EarlyFusion(num_modalities, width)


class ItemFusion(nn.Module):
    """Embeds videos: projections, the ID embedding and its gate.

    The gate is g = σ(a number that is learned for the log2 bucket of the video's training interactions). A
    video without an ID row is all content. A video without content is all ID. The ID embedding is multiplied
    by √D, the length of content. Without this factor an optimiser that moves all weights equally takes √D
    times as long to move a score.

    Args:
        modalities: Name -> width of its features.
        width: D.
        num_videos: I.
        level: The level of fusion. `early`, `cross` and `tokens` fuse the modalities here.
        attribute_sizes: Number of known values of each attribute.
        num_words: Words that `tokens` knows.
        category: Position of the category among the attributes, for adaptive normalisation. None: fixed.
        with_reliability: Whether a modality that disagrees with the others of its video counts less.
    """

    num_interactions_I: Tensor
    cold_start_bias: Tensor

    def __init__(
        self,
        modalities: Mapping[str, int],
        width: int,
        num_videos: int,
        level: str = "attention",
        attribute_sizes: Sequence[int] = (),
        num_words: int = 0,
        category: int | None = None,
        with_reliability: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        self.projections = ModalityProjections(modalities, width)
        M = len(modalities)
        self.early_fusion = build_early_fusion(level, M, width, num_words)
        self.reliability = ModalityReliability(M, width) if with_reliability and M > 1 else None
        self.category = category
        self.normalisation = (
            None if category is None else ContentNormalisation(attribute_sizes[category], M, width)
        )
        self.id_embedding = nn.Embedding(num_videos, width)
        self.id_bias = nn.Parameter(torch.zeros(num_videos))
        self.id_gate = nn.Embedding(COUNT_BUCKETS, 1)
        nn.init.normal_(self.id_embedding.weight, std=ID_INIT_STD)
        nn.init.zeros_(self.id_gate.weight)
        self.attribute_embeddings = nn.ModuleList(
            nn.Embedding(1 + size, width, padding_idx=0) for size in attribute_sizes
        )
        for weight_XD in self.attribute_embeddings.parameters():
            nn.init.normal_(weight_XD[1:], std=ID_INIT_STD)
        self.register_buffer("num_interactions_I", torch.zeros(num_videos, dtype=torch.long))
        self.register_buffer("cold_start_bias", torch.zeros(()))

    def forward(self, item_table: ItemTable, dropped_id_V: Tensor | None = None) -> ItemEmbeddings:
        """Embed all videos.

        Args:
            item_table: The videos.
            dropped_id_V: Bool. These videos are treated as new, for training. They keep their own bias,
                because with the bias of a new video much less is learned
                (docs/experiments/2026-11-21-new-video-bias.md).
        """
        x_VMD = self._modality_embeddings(item_table)
        item_features_VQ = (
            x_VMD.new_zeros(len(x_VMD), 0)
            if item_table.item_features_VQ is None
            else item_table.item_features_VQ
        )
        has_content_V = item_table.has_VM.any(1)
        has_id_V = item_table.id_row_V >= 0
        if dropped_id_V is not None:
            has_id_V = has_id_V & ~(dropped_id_V & has_content_V)
        row_V = torch.where(has_id_V, item_table.id_row_V, 0)
        bucket_V = torch.where(has_id_V, count_bucket(self._interaction_counts(row_V)), 0)
        id_gate_V = torch.where(has_content_V, torch.sigmoid(self.id_gate(bucket_V).squeeze(1)), 1.0)
        id_gate_V = torch.where(has_id_V, id_gate_V, 0.0)
        id_VD, bias_V = x_VMD.new_zeros(len(row_V), self.width), x_VMD.new_zeros(len(row_V))
        if len(self.num_interactions_I):
            id_VD = self.id_embedding(row_V)
            bias_V = torch.where(has_id_V, embedding_lookup(self.id_bias, row_V), 0.0)
        bias_V = torch.where(item_table.id_row_V >= 0, bias_V, self.cold_start_bias)
        id_row_V = torch.where(has_id_V, row_V, -1)
        identity_VD = self.width**0.5 * (id_gate_V[:, None] * id_VD + self._attributes(item_table))
        item_features_VF, has_VM = impute_with_mask(item_features_VQ), item_table.has_VM
        return ItemEmbeddings(x_VMD, has_VM, identity_VD, id_gate_V, bias_V, id_row_V, item_features_VF)

    def _modality_embeddings(self, item_table: ItemTable) -> Tensor:
        """Return the modality embeddings x_VMD after all that does not depend on the user."""
        x_VMD, has_VM = self.projections(item_table), item_table.has_VM
        if self.reliability is not None:
            x_VMD = x_VMD * self.reliability.weights(x_VMD, has_VM)[:, :, None]
        if self.early_fusion is not None:
            x_VMD = self.early_fusion(x_VMD, item_table, self.projections)
        if self.normalisation is not None:
            unknown_V = torch.zeros_like(item_table.id_row_V)
            codes_VA = item_table.attribute_VA
            category_V = unknown_V if codes_VA is None else codes_VA[:, self.category]
            x_VMD = self.normalisation(x_VMD, has_VM, category_V)
        return x_VMD

    def init_from_statistics(
        self, num_interactions_I: Tensor, num_positives_I: Tensor, is_recent_I: Tensor | None = None
    ) -> None:
        """Set the interaction counts of the gate and the initial biases.

        The bias is the centred log of the number of users who liked the video. So with z = 0 the softmax
        equals popularity, and training learns how a user differs from it.

        Args:
            num_interactions_I: Training interactions of each video.
            num_positives_I: Users who liked the video.
            is_recent_I: Bool, the newest videos of training. Their mean bias is the bias of a new video.
                None: it is the mean of all videos.
        """
        self.num_interactions_I.copy_(num_interactions_I)
        log_popularity_I = torch.log(POPULARITY_SMOOTHING + num_positives_I)
        with torch.no_grad():
            self.id_bias.copy_(log_popularity_I - log_popularity_I.mean())
            if is_recent_I is not None and is_recent_I.any():
                self.cold_start_bias.copy_(self.id_bias[is_recent_I].mean())

    def _attributes(self, item_table: ItemTable) -> Tensor:
        """Return the sum of the embeddings of the attributes of each video. An unknown one adds nothing."""
        sum_VD = torch.zeros(len(item_table.id_row_V), self.width)
        if item_table.attribute_VA is not None:
            for embedding, code_V in zip(
                self.attribute_embeddings, item_table.attribute_VA.unbind(1), strict=True
            ):
                sum_VD = sum_VD + embedding(code_V)
        return sum_VD

    def _interaction_counts(self, row_V: Tensor) -> Tensor:
        return self.num_interactions_I[row_V] if len(self.num_interactions_I) else torch.zeros_like(row_V)
