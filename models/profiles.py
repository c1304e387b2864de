"""Static profiles, and what is made of them: the vector s.

Legend: B users, C profile categories, P profile numbers, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.fusion import with_known


@dataclass(frozen=True)
class Profiles:
    """Static profiles: index of each category's value (0: unknown), standardised numbers (NaN: unknown)."""

    category_BC: Tensor
    number_BP: Tensor

    def take(self, users_B: Tensor) -> "Profiles":
        """The profiles of these users only."""
        return Profiles(self.category_BC[users_B], self.number_BP[users_B])


class ProfileEmbedding(nn.Module):
    """s: the static profile as one vector; an unknown value starts as, and adds, nothing of its own."""

    def __init__(self, sizes: Sequence[int], numbers: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.values = nn.ModuleList(nn.Embedding(size + 1, width, padding_idx=0) for size in sizes)
        self.numbers = nn.Linear(2 * numbers, width, bias=False) if numbers else None

    def forward(self, profiles: Profiles) -> Tensor:
        """s_BD."""
        s_BD = torch.zeros(len(profiles.category_BC), self.width)
        for i, table in enumerate(self.values):
            s_BD = s_BD + table(profiles.category_BC[:, i])
        if self.numbers is not None:
            s_BD = s_BD + self.numbers(with_known(profiles.number_BP))
        return s_BD
