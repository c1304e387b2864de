"""What a person likes, and by which modalities they go, from what they did: a Gaussian process a person.

Legend: B users, T events, S = T + 1 states, M modalities, G mixtures, D width, A behaviours.

A mixture says how much each modality weighs. Under it a person's responses are a Gaussian process: two are as
alike as the videos are in the mixture, the less the more days lie between. The mixture that best foretold
what the person did next has the highest evidence; the posterior mean is what the person should like next. All
of it follows from the Cholesky factor of the covariance, whose row t knows events up to t only: one factor
serves every state (Rasmussen & Williams 2006, algorithm 2.1).
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.histories import Batch

STEPS = 3  # a mixture's weights are multiples of a third; finer ones were measured to tell no more
TASTE, HABIT, NOISE = 0.5, 0.3, 0.8  # variance of a response: by the video, by the person, by chance
LASTING = 0.9  # how alike two responses to the same video stay for each day between them
SHARP = 2.0  # how fast likeness falls with the cosine
AT_ONCE = 1 << 24  # likenesses held at a time
OLDEST = 700  # days before the newest; what is older fades no further, or its weight would underflow


def mixtures(modalities: int) -> Tensor:
    """All weights [G, M] in steps of 1 / STEPS that sum to 1."""
    parts = [p for p in product(range(STEPS + 1), repeat=modalities) if sum(p) == STEPS]
    return torch.tensor(parts, dtype=torch.float32) / STEPS


@dataclass(frozen=True)
class Covariance:
    """Of a person's responses, whatever the videos are like: alike_BTT times their likeness, plus rest_BTT.

    What is padding tells nothing: it goes with itself only.
    """

    alike_BTT: Tensor
    rest_BTT: Tensor

    @classmethod
    def of(cls, batch: Batch) -> "Covariance":
        """By the days between the events, and the person's habit and chance, which know no video."""
        day_BT, mask_BT = batch.day_BT, batch.mask_BT
        both_BTT = mask_BT.unsqueeze(2) & mask_BT.unsqueeze(1)
        days_BTT = (day_BT.unsqueeze(2) - day_BT.unsqueeze(1)).abs().float()
        noise_TT = NOISE * torch.eye(mask_BT.shape[1])
        return cls(TASTE * LASTING**days_BTT * both_BTT, HABIT * both_BTT + noise_TT)

    def __getitem__(self, people: slice) -> "Covariance":
        return Covariance(self.alike_BTT[people], self.rest_BTT[people])

    def factor(self, videos_BTT: Tensor) -> Tensor:
        """L_BTT, the Cholesky factor, where the videos are as alike as this."""
        return torch.linalg.cholesky_ex(torch.addcmul(self.rest_BTT, self.alike_BTT, videos_BTT)).L


def likeness(x_BTMD: Tensor) -> Tensor:
    """How alike each modality of an event's video is to each modality of another's, 0 to 1 [B, M, M, T, T].

    0 where a modality is missing.
    """
    x_BMTD = F.normalize(x_BTMD.float(), dim=3).transpose(1, 2)
    has_BMT = x_BMTD.any(3)
    both_BMMTT = has_BMT[:, :, None, :, None] & has_BMT[:, None, :, None, :]
    cosine_BMMTT = x_BMTD.unsqueeze(2) @ x_BMTD.unsqueeze(1).mT
    return alike(cosine_BMMTT) * both_BMMTT


def alike(cosine_X: Tensor) -> Tensor:
    """exp(SHARP (cosine − 1)), the Gaussian kernel on a sphere, 0 to 1.

    What has nothing in common tells nothing, where the cosine itself would have it tell the contrary.
    """
    return torch.exp(SHARP * (cosine_X - 1))


@torch.no_grad()
def log_evidence(x_BTMD: Tensor, response_BTG: Tensor, batch: Batch, mixture_GM: Tensor) -> Tensor:
    """ln p(responses before a state | mixture), [B, S, G]; x_BTMD is zero where a modality is missing.

    response_BTG: beside what is expected without the person, which may depend on the mixture.
    """
    covariance, response_BTG = Covariance.of(batch), response_BTG * batch.mask_BT.unsqueeze(2)
    B, T, M, _ = x_BTMD.shape
    people, told = max(1, AT_ONCE // max(1, T * M) ** 2), []
    for at in range(0, max(B, 1), people):
        some = slice(at, at + people)
        told.append(_told(covariance[some], x_BTMD[some], response_BTG[some], mixture_GM))
    return F.pad((torch.cat(told) * batch.mask_BT.unsqueeze(2)).cumsum(1), (0, 0, 1, 0))


def _told(covariance: Covariance, x_BTMD: Tensor, response_BTG: Tensor, mixture_GM: Tensor) -> Tensor:
    """ln p(response | those before it, mixture) of each event [B, T, G]."""
    told, alike_BXT = [], likeness(x_BTMD).flatten(1, 2).flatten(2)  # X: pairs of modalities; then of events
    for mixture_M, response_BT1 in zip(mixture_GM, response_BTG.split(1, 2), strict=True):
        videos_BT = torch.outer(mixture_M, mixture_M).flatten() @ alike_BXT
        L_BTT = covariance.factor(videos_BT.view_as(covariance.alike_BTT))
        surprise_BT = _solve(L_BTT, response_BT1).squeeze(2)
        told.append(-0.5 * surprise_BT.square() - L_BTT.diagonal(dim1=1, dim2=2).log())
    return torch.stack(told, 2)


@torch.no_grad()
def taste(x_BTMD: Tensor, response_BT: Tensor, batch: Batch) -> Tensor:
    """θ_BSD, the posterior mean of what a person likes: ⟨θ, f⟩ foretells the response to a video f / √D.

    f is the mean of the modalities that a video has, here as there.
    E[θ | r] = Σ_t λ^(days since t) TASTE f_t (K⁻¹ r)_t, and with K = L Lᵀ that is Σ_t (L⁻¹ λ F)_t (L⁻¹ r)_t:
    a sum over events, which every state has its part of.
    """
    mask_BT1, day_BT = batch.mask_BT.unsqueeze(2), batch.day_BT
    has_BT1 = x_BTMD.any(3).sum(2, keepdim=True)
    f_BTD = x_BTMD.float().sum(2) / has_BT1.clamp(min=1) * x_BTMD.shape[3] ** -0.5
    newest_B1 = F.pad(torch.where(batch.mask_BT, day_BT, 0), (1, 0)).amax(1, keepdim=True)
    fading_BT1 = LASTING ** (newest_B1 - day_BT).clamp(0, OLDEST).float().unsqueeze(2)
    both_BTD = torch.cat([response_BT.unsqueeze(2), f_BTD * fading_BT1], 2) * mask_BT1
    L_BTT = Covariance.of(batch).factor(f_BTD @ f_BTD.mT)
    surprise_BT1, f_BTD = _solve(L_BTT, both_BTD).split([1, f_BTD.shape[2]], 2)
    sum_BTD = (surprise_BT1 * f_BTD).cumsum(1)
    return F.pad(TASTE * sum_BTD / fading_BT1 * mask_BT1, (0, 0, 1, 0))


def _solve(L_BTT: Tensor, x_BTX: Tensor) -> Tensor:
    """L⁻¹ x."""
    return torch.linalg.solve_triangular(L_BTT, x_BTX, upper=False)
