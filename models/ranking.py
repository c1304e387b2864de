"""The second stage: how likely each behaviour is, should this person be shown this video, and its worth.

Legend: N (person, moment, video) triples, D width, H behaviours predicted (HEADS), A behaviours logged,
K numbers and flags that tell of a video, I videos with an ID row, E viewings.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

HEADS = ("complete", "like", "comment", "share", "follow", "skip")
LOGGED = {"like": "liked", "comment": "commented", "share": "shared", "follow": "followed"}
COMPLETE_FROM = 0.95  # watched share from which a viewing counts as complete (as in the snapshot)
PRIOR = 10.0  # viewings at the average rate that each video has beside its own, before training
ENOUGH = 20  # viewings with and without a behaviour, for its probability to be calibrated on them


class RankingHeads(nn.Module):
    """One calibrated logit a behaviour from interest z, fused video f, their product, and its numbers.

    To it is added how much likelier everybody is to do this at this video than at the average one, as
    log-odds; 0 for a new video.
    """

    scale_H: Tensor
    shift_H: Tensor

    def __init__(self, width: int, dropout: float, numbers: int, videos: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(3 * width + 2 * numbers, width), nn.GELU(), nn.Dropout(dropout))
        self.logits = nn.Linear(width, len(HEADS))
        self.odds = nn.Embedding(videos, len(HEADS))
        nn.init.zeros_(self.odds.weight)
        self.register_buffer("scale_H", torch.ones(len(HEADS)))
        self.register_buffer("shift_H", torch.zeros(len(HEADS)))

    def forward(self, z_ND: Tensor, f_ND: Tensor, id_row_N: Tensor, number_NK: Tensor) -> Tensor:
        """Logits [N, H]."""
        logit_NH = self.logits(self.hidden(torch.cat([z_ND, f_ND, z_ND * f_ND, number_NK], -1)))
        if len(self.odds.weight):
            known_N1 = (id_row_N >= 0).unsqueeze(-1)
            logit_NH = logit_NH + torch.where(known_N1, self.odds(id_row_N.clamp(min=0)), 0.0)
        return self.scale_H * logit_NH + self.shift_H

    @torch.no_grad()
    def start_from(self, id_row_E: Tensor, label_EH: Tensor, known_EH: Tensor) -> None:
        """Before training: the odds that viewings tell, shrunk towards the average by `PRIOR` viewings."""
        happened_EH = (label_EH & known_EH).double()
        rate_H = (happened_EH.sum(0) + 1) / (known_EH.sum(0) + 2)
        known_E, none_IH = id_row_E >= 0, torch.zeros(self.odds.weight.shape, dtype=torch.float64)
        happened_IH = none_IH.index_add(0, id_row_E[known_E], happened_EH[known_E])
        shown_IH = none_IH.index_add(0, id_row_E[known_E], known_EH[known_E].double())
        rate_IH = (happened_IH + PRIOR * rate_H) / (shown_IH + PRIOR)
        self.odds.weight.copy_(rate_IH.logit() - rate_H.logit())
        self.logits.bias.copy_(rate_H.logit())

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
