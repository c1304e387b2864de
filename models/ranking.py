"""The second stage: how likely each behaviour is, should this person be shown this video.

Legend: N (person, moment, video) triples, D width, H behaviours predicted (HEADS), A behaviours logged,
K numbers and flags that tell of a video.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

HEADS = ("complete", "like", "comment", "share", "follow", "skip")
LOGGED = {"like": "liked", "comment": "commented", "share": "shared", "follow": "followed"}
COMPLETE_FROM = 0.95  # watched share from which a viewing counts as complete (as in the snapshot)


class RankingHeads(nn.Module):
    """One logit a behaviour from the interest z, the fused video f, their product, and its numbers."""

    def __init__(self, width: int, dropout: float, numbers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3 * width + 2 * numbers, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, len(HEADS)),
        )

    def forward(self, z_ND: Tensor, f_ND: Tensor, number_NK: Tensor) -> Tensor:
        """Logits [N, H]."""
        return self.layers(torch.cat([z_ND, f_ND, z_ND * f_ND, number_NK], -1))


def outcomes(
    ratio_N: Tensor, known_N: Tensor, did_NA: Tensor, behaviours: Sequence[str], skip_below: float
) -> tuple[Tensor, Tensor]:
    """What happened, per head: labels [N, H], and where they are known (a watched share may not be)."""
    always_N = torch.ones_like(known_N)
    columns = {
        "complete": (ratio_N >= COMPLETE_FROM, known_N),
        "skip": (ratio_N < skip_below, known_N),
        **{head: (did_NA[:, behaviours.index(name)], always_N) for head, name in LOGGED.items()},
    }
    labels, known = zip(*(columns[head] for head in HEADS), strict=True)
    return torch.stack(labels, 1), torch.stack(known, 1)
