"""When did a person's interest change? The evidence for a change on each day, from what the person did.

Legend: B users, T events, M modalities, D width, K days.

The responses of a person are a Gaussian process over the videos, fused with the person's own weights; two
are as alike as ⟨f, f′⟩ and, unlike in models/evidence.py, do not fade with the days. Was there a change, then
what was liked before tells little about what is liked after: the days on either side share only a part of
their covariance. When people change, the population itself tells (empirical Bayes); whether a person did is
for the person's own answers to tell.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.evidence import HABIT, NOISE, TASTE
from models.histories import Batch

SHARED = 0.3  # what is left of the covariance of taste across a change
NEVER = 0.5  # probability before anything is known that an interest did not change
PSEUDO = 1.0  # people that are spread evenly over the days, so that no day is impossible
ROUNDS = 30  # of expectation and maximisation


@dataclass(frozen=True)
class Drift:
    """What was found of each person.

    day_K: the days on which an interest could change, counted from 1970; the change is before that day's
        first event. p_BK: probability that it did on that day; p_never_B: that it did not.
    """

    day_K: Tensor
    p_BK: Tensor
    p_never_B: Tensor

    @property
    def changed(self) -> Tensor:
        """[B]: who more likely changed than not."""
        return self.p_never_B < 0.5

    @property
    def day(self) -> Tensor:
        """[B]: the likeliest day of a change, whether or not there was one."""
        return self.day_K[self.p_BK.argmax(1)]


@torch.no_grad()
def log_evidence(f_BTD: Tensor, response_BT: Tensor, batch: Batch, day_K: Tensor) -> Tensor:
    """ln p(responses | the interest changed before that day), [B, K + 1]; the last: it never did.

    −inf for a day that has no event of the person before it, or none after: nobody can tell.
    """
    mask_BT = batch.mask_BT
    both_BTT = mask_BT.unsqueeze(2) & mask_BT.unsqueeze(1)
    alike_BTT = TASTE * f_BTD @ f_BTD.mT
    noise_TT = NOISE * torch.eye(mask_BT.shape[1])
    told = []
    for day in [*day_K.tolist(), None]:
        after_BT = torch.zeros_like(mask_BT) if day is None else batch.day_BT >= day
        across_BTT = after_BT.unsqueeze(2) != after_BT.unsqueeze(1)
        covariance_BTT = torch.where(across_BTT, SHARED, 1.0) * alike_BTT + HABIT
        L_BTT = torch.linalg.cholesky_ex(torch.where(both_BTT, covariance_BTT, 0.0) + noise_TT).L
        surprise_BT1 = torch.linalg.solve_triangular(L_BTT, (response_BT * mask_BT).unsqueeze(2), upper=False)
        diagonal_BT = L_BTT.diagonal(dim1=1, dim2=2).log() * mask_BT
        told_B = -0.5 * surprise_BT1.square().sum((1, 2)) - diagonal_BT.sum(1)
        both_B = (after_BT & mask_BT).any(1) & (~after_BT & mask_BT).any(1)
        told.append(told_B if day is None else told_B.masked_fill(~both_B, -torch.inf))
    return torch.stack(told, 1)


def weigh(told_BK: Tensor, day_K: Tensor) -> Drift:
    """Posterior of each day and of "never", by the share of all changes that fits the population best.

    The prior of a change is spread over the days of which the person can tell; who can of none never changed.
    """
    can_BK = told_BK[:, :-1] > -torch.inf
    never_B1 = torch.where(can_BK.any(1, keepdim=True), NEVER, 1.0)
    share_K = torch.full((len(day_K),), 1 / len(day_K))
    for _ in range(ROUNDS):
        share_BK = share_K * can_BK
        share_BK = share_BK / share_BK.sum(1, keepdim=True).clamp(min=1e-9)
        prior_BK = torch.cat([(1 - never_B1) * share_BK, never_B1], 1)
        p_BK = torch.softmax(told_BK + prior_BK.log(), 1)
        share_K = p_BK[:, :-1].sum(0) + PSEUDO / len(day_K)
        share_K = share_K / share_K.sum()
    return Drift(day_K, p_BK[:, :-1], p_BK[:, -1])
