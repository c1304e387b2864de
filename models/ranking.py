"""The second stage: how likely each behaviour is, should this person be shown this video, and its worth.

Legend: N (person, moment, video) triples, D width, H behaviours predicted (HEADS), A behaviours logged,
K numbers and flags that tell of a video.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

HEADS = ("complete", "like", "comment", "share", "follow", "skip")
LOGGED = {"like": "liked", "comment": "commented", "share": "shared", "follow": "followed"}
COMPLETE_FROM = 0.95  # watched share from which a viewing counts as complete (as in the snapshot)
ENOUGH = 20  # viewings with and without a behaviour, for its probability to be calibrated on them


class RankingHeads(nn.Module):
    """One calibrated logit a behaviour from interest z, fused video f, their product, and its numbers."""

    scale_H: Tensor
    shift_H: Tensor

    def __init__(self, width: int, dropout: float, numbers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3 * width + 2 * numbers, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, len(HEADS)),
        )
        self.register_buffer("scale_H", torch.ones(len(HEADS)))
        self.register_buffer("shift_H", torch.zeros(len(HEADS)))

    def forward(self, z_ND: Tensor, f_ND: Tensor, number_NK: Tensor) -> Tensor:
        """Logits [N, H]."""
        logit_NH = self.layers(torch.cat([z_ND, f_ND, z_ND * f_ND, number_NK], -1))
        return self.scale_H * logit_NH + self.shift_H

    def calibrate(self, logit_NH: Tensor, label_NH: Tensor, known_NH: Tensor) -> None:
        """Platt scaling of each head on viewings it has not learned from; too few leave it as it is."""
        for head in range(len(HEADS)):
            known_N = known_NH[:, head]
            logit_N, label_N = logit_NH[known_N, head].double(), label_NH[known_N, head].double()
            if min(float(label_N.sum()), float((1 - label_N).sum())) >= ENOUGH:
                scale, shift = platt(logit_N, label_N)
                self.scale_H[head] *= scale
                self.shift_H[head] = self.shift_H[head] * scale + shift


def platt(logit_N: Tensor, label_N: Tensor) -> tuple[float, float]:
    """a ≥ 0, b that make σ(a · logit + b) likeliest, with Platt's softened labels (1999, section 2)."""
    happened, not_happened = float(label_N.sum()), float((1 - label_N).sum())
    soft_N = torch.where(label_N > 0, (happened + 1) / (happened + 2), 1 / (not_happened + 2))
    line = torch.tensor([1.0, 0.0], dtype=logit_N.dtype, requires_grad=True)
    optimiser = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        found = F.binary_cross_entropy_with_logits(line[0] * logit_N + line[1], soft_N)
        found.backward()
        return found

    optimiser.step(loss)
    scale, shift = line.tolist()
    if scale <= 0:  # a head that tells nothing, which chance has upside down
        return 0.0, math.log((happened + 1) / (not_happened + 1))
    return scale, shift


def worth(p_NH: Tensor, negativity_N: Tensor, weights: Mapping[str, float]) -> Tensor:
    """What showing a video is worth beside its retrieval score: Σ_h w_h p_h + w · negativity of its comments.

    Shifted so that nothing is worth less than 0: whoever is looked at twice never falls behind who is not.
    """
    weight_H = p_NH.new_tensor([weights[head] for head in HEADS])
    negative = weights["negative_comments"]
    lowest = weight_H.clamp(max=0).sum() + min(negative, 0.0)
    return p_NH @ weight_H + negative * negativity_N - lowest


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
