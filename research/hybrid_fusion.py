"""Hybrid fusion: the interest model reads the fused sequence and one sequence for each modality.

Source: the hybrid level of fusion in the survey of arXiv 2509.04751. It joins fusion before the encoder with
fusion after it.

Result: NDCG@10 .2943 with one seed, which is −.0211 [−.0363, −.0052] compared with the full model of the time
(docs/experiments/2026-11-21-ablations-of-the-first-model.md). It is significantly worse, so `params.yaml`
does not offer it.
"""

from typing import ClassVar

from torch import Tensor

from models.data.items import ItemEmbeddings
from models.data.user_state import UserState
from models.interest_model import InterestModel
from models.layers.modality_attention import unfused_modalities


class HybridFusionModel(InterestModel):
    """The interest model with hybrid fusion.

    The score of a modality uses the sum of its own user embedding and the fused one. α weighs the scores, as
    in late fusion. The parameters are those of late fusion.

    Args:
        config: Its `fusion` is `hybrid`. Without modalities only the fused sequence is left.

    Raises:
        ValueError: The level of fusion is another one, the encoder is unknown, or the heads do not divide the
            width.
    """

    fusions: ClassVar[tuple[str, ...]] = ("hybrid",)

    @property
    def has_modality_states(self) -> bool:
        """Whether a user state has one vector for each modality."""
        return bool(self.config.modalities)

    def _event_sequences(self, items: ItemEmbeddings, video_BT: Tensor, u_BTW: Tensor) -> tuple[Tensor, ...]:
        """Return the fused events, then the events of each modality."""
        fused = super()._event_sequences(items, video_BT, u_BTW)
        return (*fused, *unfused_modalities(items, video_BT).unbind(2))

    def _user_state(self, z_XBSD: Tensor, u_BSW: Tensor) -> UserState:
        """Return the user state, given the user embedding of each sequence, the fused one first."""
        if not self.config.modalities:
            return super()._user_state(z_XBSD, u_BSW)
        return UserState(z_XBSD[0], u_BSW, (z_XBSD[0] + z_XBSD[1:]).movedim(0, 2))
