"""Adaptive normalisation: a scale and a shift of the modality embeddings for groups of users and videos.

A learned scale and shift after a layer norm, chosen by a condition, is conditional normalisation (FiLM, arXiv
1709.07871). Here the condition is a pair: the activity group g of the user and the category c of the video:

    x̃ₘ(g, c) = γ_g ⊙ (γ_c ⊙ x̃ₘ + β_c)

The scale of a pair is γ_g ⊙ γ_c, and its shift γ_g ⊙ β_c. So a score stays an inner product, because
⟨z, γ_g ⊙ y⟩ = ⟨γ_g ⊙ z, y⟩. All parameters are differences from the identity and start at 0. Weight decay
pulls a group with little data to the identity.
"""

import torch
from torch import Tensor, nn

from models.data.items import embedding_lookup
from models.ranking.final_ranker import NUM_ACTIVITY_GROUPS, activity_groups


class ContentNormalisation(nn.Module):
    """Scale γ_c and shift β_c of each modality for each category.

    Args:
        num_categories: Number of known categories. An unknown one has parameters, too.
        num_modalities: M.
        width: D.
    """

    def __init__(self, num_categories: int, num_modalities: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1 + num_categories, num_modalities, width))
        self.shift = nn.Parameter(torch.zeros(1 + num_categories, num_modalities, width))

    def forward(self, x_VMD: Tensor, has_VM: Tensor, category_V: Tensor) -> Tensor:
        """Return the normalised modality embeddings. They stay zero if missing.

        Args:
            x_VMD: Modality embeddings.
            has_VM: Bool, whether a video has the modality.
            category_V: Code of the category. 0 is unknown.
        """
        scale_VMD, shift_VMD = (embedding_lookup(p, category_V) for p in (self.scale, self.shift))
        return torch.where(has_VM[:, :, None], x_VMD * (1 + scale_VMD) + shift_VMD, 0.0)


class UserNormalisation(nn.Module):
    """Scale γ_g of each modality for each activity group.

    Args:
        num_modalities: M.
        width: D.
    """

    def __init__(self, num_modalities: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(NUM_ACTIVITY_GROUPS, num_modalities, width))

    def forward(self, num_states: int) -> Tensor:
        """Return γ_g at each state of a sequence, [S, M, D]. State i knows i interactions."""
        return 1 + embedding_lookup(self.scale, activity_groups(torch.arange(num_states)))
