"""By which modalities does a person go? The evidence for each mixture of them, from what the person did.

Legend: B users, T events, S = T + 1 states, M modalities, G mixtures, D width, A behaviours.

A mixture says how much each modality weighs. Under it a person's responses are a Gaussian process: two are as
alike as the videos are in the mixture, the less the more days lie between. The mixture that best foretold
what the person did next has the highest evidence. All of it follows from the Cholesky factor of the
covariance, whose row t knows events up to t only: one factor serves every state (Rasmussen & Williams 2006,
algorithm 2.1).
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from models.histories import Batch

STEPS = 3  # a mixture's weights are multiples of a third; finer ones were measured to tell no more
TASTE, HABIT, NOISE = 0.5, 0.3, 0.8  # variance of a response: by the video, by the person, by chance
LASTING = 0.95  # how alike two responses to the same video stay for each day between them
ANSWERS = {"liked": 1.0, "commented": 0.5, "shared": 1.0, "followed": 1.0, "disliked": -2.0}
WATCHED, USUAL_SHARE = 2.0, 0.6  # worth of a whole view beside an answer; the share that says nothing


def mixtures(modalities: int) -> Tensor:
    """All weights [G, M] in steps of 1 / STEPS that sum to 1."""
    parts = [p for p in product(range(STEPS + 1), repeat=modalities) if sum(p) == STEPS]
    return torch.tensor(parts, dtype=torch.float32) / STEPS


def responses(batch: Batch, behaviours: Sequence[str]) -> Tensor:
    """How warmly the person answered each video [B, T]: about 0 on average, with a variance of about 1."""
    answer_A = torch.tensor([ANSWERS.get(name, 0.0) for name in behaviours])
    watched_BT = torch.where(batch.ratio_known_BT, batch.ratio_BT.clamp(max=1.0) - USUAL_SHARE, 0.0)
    return WATCHED * watched_BT + batch.did_BTA.float() @ answer_A


@torch.no_grad()
def log_evidence(x_BTMD: Tensor, response_BT: Tensor, batch: Batch, mixture_GM: Tensor) -> Tensor:
    """ln p(responses before a state | mixture), [B, S, G]; x_BTMD is zero where a modality is missing."""
    day_BT, mask_BT = batch.day_BT, batch.mask_BT
    lasting_BTT = LASTING ** (day_BT.unsqueeze(2) - day_BT.unsqueeze(1)).abs().float()
    both_BTT = mask_BT.unsqueeze(2) & mask_BT.unsqueeze(1)
    noise_TT = NOISE * torch.eye(mask_BT.shape[1])
    told = []
    for mixture_M in mixture_GM:  # one at a time: B × T × T is all that is held
        f_BTD = torch.einsum("btmd,m->btd", x_BTMD.float(), mixture_M) * x_BTMD.shape[-1] ** -0.5
        alike_BTT = TASTE * f_BTD @ f_BTD.mT * lasting_BTT + HABIT
        L_BTT = torch.linalg.cholesky_ex(torch.where(both_BTT, alike_BTT, 0.0) + noise_TT).L
        surprise_BT = torch.linalg.solve_triangular(L_BTT, (response_BT * mask_BT).unsqueeze(2), upper=False)
        told.append(-0.5 * surprise_BT.squeeze(2).square() - L_BTT.diagonal(dim1=1, dim2=2).log())
    told_BTG = torch.stack(told, 2) * mask_BT.unsqueeze(2)
    return torch.nn.functional.pad(told_BTG.cumsum(1), (0, 0, 1, 0))
