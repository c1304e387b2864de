"""User profiles as vectors."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.data.items import impute_with_mask
from models.data.users import UserProfiles


class UserProfileEmbedding(nn.Module):
    """Embeds a static profile as one vector s. An unknown value adds nothing.

    Args:
        category_sizes: Number of known values of each categorical column.
        num_numbers: Q.
        width: D.
    """

    def __init__(self, category_sizes: Sequence[int], num_numbers: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.category_embeddings = nn.ModuleList(
            nn.Embedding(size + 1, width, padding_idx=0) for size in category_sizes
        )
        self.number_projection = nn.Linear(2 * num_numbers, width, bias=False) if num_numbers else None

    def forward(self, profiles: UserProfiles) -> Tensor:
        """Return s_BD."""
        s_BD = torch.zeros(len(profiles.category_BJ), self.width)
        for i, table in enumerate(self.category_embeddings):
            s_BD = s_BD + table(profiles.category_BJ[:, i])
        if self.number_projection is not None:
            s_BD = s_BD + self.number_projection(impute_with_mask(profiles.number_BQ))
        return s_BD
