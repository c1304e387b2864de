"""The base class of the baselines that read content. They score every video, also one without an ID row."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.baselines.baseline import Baseline, IdVocabulary
from models.config import ModelConfig
from models.data.items import ItemTable
from models.data.positives import positive_id_rows
from models.data.sequences import SequenceBatch
from models.data.user_state import UserState
from models.data.users import UserProfiles
from models.layers.projections import ModalityProjection


@dataclass(frozen=True)
class ContentVocabulary(IdVocabulary):
    """Videos as a content baseline knows them.

    Attributes:
        w_VF: Vector of each video. A score is its inner product with the vector of a user.
    """

    w_VF: Tensor


class ModalityInput(NamedTuple):
    """One modality of some videos.

    Attributes:
        name: Of the modality.
        projection: Wₘ, and the standardisation.
        x_VF: The features.
        has_V: Bool, whether a video has them.
    """

    name: str
    projection: ModalityProjection
    x_VF: Tensor
    has_V: Tensor


class ContentBaseline(Baseline):
    """A baseline that reads the content of videos.

    Args:
        config: Everything that is needed to build the model.
        content_width: Width of x̃ₘ. None: D.

    Attributes:
        projections: Wₘ and the standardisation of each modality. Missing content is zero.
    """

    def __init__(self, config: ModelConfig, content_width: int | None = None) -> None:
        super().__init__(config)
        width = content_width or config.width
        self.projections = nn.ModuleDict(
            {name: ModalityProjection(size, width) for name, size in config.modalities.items()}
        )

    def init_from_content(self, item_table: ItemTable) -> None:
        """Standardise by the training videos, and keep their content for the training."""
        rows_I = (item_table.id_row_V >= 0).nonzero().squeeze(1)
        self.training_items = item_table.select(rows_I[item_table.id_row_V[rows_I].argsort()])
        for modality in self.modality_inputs(self.training_items):
            if modality.has_V.any():
                modality.projection.init_from_statistics(modality.x_VF[modality.has_V])

    def drop_user_embeddings(self) -> None:
        """Delete the content of the training videos, and what was learned for single users."""
        super().drop_user_embeddings()
        del self.training_items

    def modality_inputs(self, item_table: ItemTable) -> Iterator[ModalityInput]:
        """Yield each modality of the videos, in the order of `config.modalities`."""
        for has_V, (name, projection) in zip(item_table.has_VM.T, self.projections.items(), strict=True):
            assert isinstance(projection, ModalityProjection)
            yield ModalityInput(name, projection, item_table.modality_features[name], has_V)

    def embed_content(self, item_table: ItemTable) -> Tensor:
        """Return x̃ₘ = LayerNorm(Wₘ xₘ) of the videos, [M, V, content_width]."""
        return torch.stack([m.projection(m.x_VF, m.has_V) for m in self.modality_inputs(item_table)])

    def encode_items(self, item_table: ItemTable) -> ContentVocabulary:
        """Embed every video of the table."""
        raise NotImplementedError

    def encode_user(self, batch: SequenceBatch, profiles: UserProfiles, items: IdVocabulary) -> UserState:
        """Return the state of each user after the last event, with equal weights of the modalities."""
        z_BF = self.encode_sequence(*positive_id_rows(batch, items.id_row_V))
        M = len(self.projections)
        return UserState(z_BF, z_BF.new_full((len(z_BF), M), 1 / M))

    def score_items(self, user_state: UserState, items: IdVocabulary) -> tuple[Tensor, Tensor]:
        """Score every video.

        Returns:
            score_NV, and alpha_MNV, the modality weights of the user. They are the same for all videos.
        """
        assert isinstance(items, ContentVocabulary)
        alpha_MN1 = user_state.u_NW.T[:, :, None]
        return user_state.z_ND @ items.w_VF.T, alpha_MN1.expand(-1, -1, len(items))
