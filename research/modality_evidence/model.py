"""The interest model with a Gaussian process for each user: modality weights and posterior mean.

Result: on `sessions` the ranking does not change, and the cost is cubic in the length of a sequence
(docs/adr/0056-no-gaussian-process-in-the-served-model.md). README.md has the formulas.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.data.items import ItemEmbeddings, ItemTable, embedding_lookup
from models.data.sequences import SequenceBatch, Sequences
from models.data.user_state import UserState
from models.data.users import UserProfiles
from models.interest_model import InterestModel
from models.layers.projections import ModalityProjections
from models.sources.engagement import EngagementResidual
from research.modality_evidence.gaussian_process import posterior_mean
from research.modality_evidence.inferred_preference import InferredModalityPreference

# The initial weight of θ in z is this × √D. It balances θ against the item biases, which are log popularity.
POSTERIOR_MEAN_INIT = 0.3


@dataclass(frozen=True)
class AlignedItems(ItemEmbeddings):
    """Videos, also in the space in which modality weights are inferred.

    Attributes:
        aligned_VMD: Modality embeddings before training, from `align`.
    """

    aligned_VMD: Tensor


class EvidenceModel(InterestModel):
    """The interest model with inferred modality weights, and with the posterior mean θ in the user embedding.

    The modality weights come from the log evidence, in a copy of the projections that training does not move.
    θ is added to z with a learned weight.

    Args:
        config: Its `fusion` is `user`, and it has modalities.

    Raises:
        ValueError: The level of fusion is another one, there is no modality, the encoder is unknown, or the
            heads do not divide the width.
    """

    fusions: ClassVar[tuple[str, ...]] = ("user",)
    modality_preference: InferredModalityPreference  # type: ignore[assignment]

    def __init__(self, config: ModelConfig) -> None:
        if not config.modalities:
            raise ValueError("without modalities there are no modality weights to infer")
        super().__init__(config)
        category_sizes = (
            [len(values) for values in config.user_categorical_features.values()] if config.profile else []
        )
        self.aligned_projections = ModalityProjections(config.modalities, config.width).requires_grad_(False)
        self.engagement_residual = EngagementResidual(config.behaviours, len(config.video_ids))
        self.modality_preference = InferredModalityPreference(
            len(config.modalities), config.width, category_sizes
        )
        self.posterior_mean_weight = nn.Parameter(torch.tensor(POSTERIOR_MEAN_INIT))

    @torch.no_grad()
    def init_from_statistics(
        self, sequences: Sequences, profiles: UserProfiles, item_table: ItemTable
    ) -> None:
        """Compute what the Gaussian process needs of the training days.

        Call it after `models.training.initialisation.init_from_training_data`.
        """
        self.aligned_projections.load_state_dict(self.item_fusion.projections.state_dict())
        self.engagement_residual.init_from_statistics(sequences, item_table.id_row_V)
        self.modality_preference.init_from_statistics(
            sequences,
            profiles,
            self.engagement_residual,
            self.aligned_projections(item_table),
            item_table.id_row_V,
            self.config.max_length,
        )

    def encode_items(self, item_table: ItemTable, dropped_id_V: Tensor | None = None) -> AlignedItems:
        items = super().encode_items(item_table, dropped_id_V)
        return AlignedItems(**vars(items), aligned_VMD=self.aligned_projections(item_table))

    def encode_preferences(
        self, batch: SequenceBatch, profiles: UserProfiles, items: ItemEmbeddings
    ) -> Tensor:
        assert isinstance(items, AlignedItems)
        residual_BT = self.engagement_residual(batch, items.id_row_V)
        return self.modality_preference(batch, profiles, residual_BT, items.aligned_VMD)

    def encode_sequence(
        self, batch: SequenceBatch, profiles: UserProfiles, items: ItemEmbeddings
    ) -> UserState:
        state = super().encode_sequence(batch, profiles, items)
        x_BTMD = embedding_lookup(items.x_VMD, batch.video_BT)
        theta_BSD = posterior_mean(x_BTMD, self.engagement_residual(batch, items.id_row_V), batch)
        weight = self.posterior_mean_weight * self.config.width**0.5
        return replace(state, z_ND=state.z_ND + weight * theta_BSD)
