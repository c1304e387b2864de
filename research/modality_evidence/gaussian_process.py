"""A Gaussian process for each user: log evidence of modality weights, and posterior mean.

Under given modality weights the engagement residuals of a user are a Gaussian process. The covariance of two
residuals grows with the similarity of the videos. It falls with the days between them. The weights that best
predict what the user did next have the highest evidence. The posterior mean is what the user should like
next. Both follow from the Cholesky factor of the covariance. Its row t knows events up to t only, so one
factor serves every state (Rasmussen & Williams 2006, algorithm 2.1).
"""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models.data.sequences import SequenceBatch

GRID_STEPS = 3  # weights are multiples of a third; a finer grid was measured to gain nothing
# Variance of an engagement residual that is due to the video, the user and noise.
CONTENT_VARIANCE, USER_VARIANCE, NOISE_VARIANCE = 0.5, 0.3, 0.8
DAILY_DECAY = 0.9  # of the covariance, for each day between two events
KERNEL_SHARPNESS = 2.0  # how fast the kernel falls with the cosine
MAX_KERNEL_ENTRIES = 1 << 24  # kernel entries in memory at a time
MAX_AGE_DAYS = 700  # before the newest event; older events decay no further, or weights would underflow


def simplex_grid(num_modalities: int) -> Tensor:
    """Return all modality weights [G, M] in steps of 1 / GRID_STEPS that sum to 1."""
    parts = [p for p in product(range(GRID_STEPS + 1), repeat=num_modalities) if sum(p) == GRID_STEPS]
    return torch.tensor(parts, dtype=torch.float32) / GRID_STEPS


@dataclass(frozen=True)
class Covariance:
    """Covariance of a user's engagement residuals: kernel_scale_BTT × kernel of the videos + additive_BTT.

    Padding has no covariance with other events.

    Attributes:
        kernel_scale_BTT: Variance by the video, decayed by the days between two events.
        additive_BTT: Variance by the user and noise. They do not depend on the videos.
    """

    kernel_scale_BTT: Tensor
    additive_BTT: Tensor

    @classmethod
    def from_batch(cls, batch: SequenceBatch) -> "Covariance":
        """Compute both parts from the days of the events."""
        day_BT, mask_BT = batch.day_BT, batch.mask_BT
        both_BTT = mask_BT.unsqueeze(2) & mask_BT.unsqueeze(1)
        days_BTT = (day_BT.unsqueeze(2) - day_BT.unsqueeze(1)).abs().float()
        noise_TT = NOISE_VARIANCE * torch.eye(mask_BT.shape[1])
        return cls(CONTENT_VARIANCE * DAILY_DECAY**days_BTT * both_BTT, USER_VARIANCE * both_BTT + noise_TT)

    def __getitem__(self, rows: slice) -> "Covariance":
        return Covariance(self.kernel_scale_BTT[rows], self.additive_BTT[rows])

    def cholesky(self, kernel_BTT: Tensor) -> Tensor:
        """Return the Cholesky factor L_BTT for a kernel of the videos."""
        return torch.linalg.cholesky_ex(torch.addcmul(self.additive_BTT, self.kernel_scale_BTT, kernel_BTT)).L


def modality_kernel(x_BTMD: Tensor) -> Tensor:
    """Return the kernel between each modality of a video and each of another, [B, M, M, T, T].

    It is between 0 and 1, and 0 if a modality is missing.
    """
    x_BMTD = F.normalize(x_BTMD.float(), dim=3).transpose(1, 2)
    has_BMT = x_BMTD.any(3)
    both_BMMTT = has_BMT[:, :, None, :, None] & has_BMT[:, None, :, None, :]
    cosine_BMMTT = x_BMTD.unsqueeze(2) @ x_BMTD.unsqueeze(1).mT
    return kernel(cosine_BMMTT) * both_BMMTT


def kernel(cosine_X: Tensor) -> Tensor:
    """Return exp(KERNEL_SHARPNESS (cosine − 1)), the Gaussian kernel on a sphere, from 0 to 1.

    Unlike the cosine it is never negative: two opposite vectors give hardly any information about each other.
    """
    return torch.exp(KERNEL_SHARPNESS * (cosine_X - 1))


@torch.no_grad()
def log_evidence(x_BTMD: Tensor, residual_BTG: Tensor, batch: SequenceBatch, weights_GM: Tensor) -> Tensor:
    """Return ln p(residuals before a state | modality weights), [B, S, G].

    Args:
        x_BTMD: Modality embeddings of the events. Zero if missing.
        residual_BTG: Engagement residuals, minus what is expected without the user. They may depend on the
            weights.
        batch: The events.
        weights_GM: Modality weights to compare.
    """
    covariance, residual_BTG = Covariance.from_batch(batch), residual_BTG * batch.mask_BT.unsqueeze(2)
    B, T, M, _ = x_BTMD.shape
    users_per_chunk, chunks = max(1, MAX_KERNEL_ENTRIES // max(1, T * M) ** 2), []
    for start in range(0, max(B, 1), users_per_chunk):
        rows = slice(start, start + users_per_chunk)
        chunks.append(_predictive_log_density(covariance[rows], x_BTMD[rows], residual_BTG[rows], weights_GM))
    return F.pad((torch.cat(chunks) * batch.mask_BT.unsqueeze(2)).cumsum(1), (0, 0, 1, 0))


def _predictive_log_density(
    covariance: Covariance, x_BTMD: Tensor, residual_BTG: Tensor, weights_GM: Tensor
) -> Tensor:
    """Return ln p(residual | earlier residuals, modality weights) of each event, [B, T, G]."""
    kernel_BXX = modality_kernel(x_BTMD).flatten(1, 2).flatten(2)  # pairs of modalities, pairs of events
    log_densities = []
    for weights_M, residual_BT1 in zip(weights_GM, residual_BTG.split(1, 2), strict=True):
        mixed_kernel_BX = torch.outer(weights_M, weights_M).flatten() @ kernel_BXX
        L_BTT = covariance.cholesky(mixed_kernel_BX.view_as(covariance.kernel_scale_BTT))
        squared_BT, log_diagonal_BT = log_density_terms(L_BTT, residual_BT1)
        log_densities.append(-0.5 * squared_BT - log_diagonal_BT)
    return torch.stack(log_densities, 2)


@torch.no_grad()
def posterior_mean(x_BTMD: Tensor, residual_BT: Tensor, batch: SequenceBatch) -> Tensor:
    """Return θ_BSD, the posterior mean of what a user likes. ⟨θ, f⟩ predicts the residual of a video f / √D.

    f is the mean of the modalities that a video has. With K = L Lᵀ, E[θ | r] = Σ_t λ^(days since t)
    CONTENT_VARIANCE f_t (K⁻¹ r)_t = CONTENT_VARIANCE Σ_t (L⁻¹ λ F)_t (L⁻¹ r)_t. The last is a sum over
    events, so every state is a partial sum.

    Args:
        x_BTMD: Modality embeddings of the events. Zero if missing.
        residual_BT: Engagement residuals.
        batch: The events.
    """
    mask_BT1, day_BT = batch.mask_BT.unsqueeze(2), batch.day_BT
    num_modalities_BT1 = x_BTMD.any(3).sum(2, keepdim=True)
    f_BTD = x_BTMD.float().sum(2) / num_modalities_BT1.clamp(min=1) * x_BTMD.shape[3] ** -0.5
    last_day_B1 = F.pad(torch.where(batch.mask_BT, day_BT, 0), (1, 0)).amax(1, keepdim=True)
    decay_BT1 = DAILY_DECAY ** (last_day_B1 - day_BT).clamp(0, MAX_AGE_DAYS).float().unsqueeze(2)
    stacked_BTD = torch.cat([residual_BT.unsqueeze(2), f_BTD * decay_BT1], 2) * mask_BT1
    L_BTT = Covariance.from_batch(batch).cholesky(f_BTD @ f_BTD.mT)
    whitened_BT1, f_BTD = _solve_lower(L_BTT, stacked_BTD).split([1, f_BTD.shape[2]], 2)
    sum_BTD = (whitened_BT1 * f_BTD).cumsum(1)
    return F.pad(CONTENT_VARIANCE * sum_BTD / decay_BT1 * mask_BT1, (0, 0, 1, 0))


def log_density_terms(L_BTT: Tensor, residual_BT1: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two terms of a Gaussian log density with covariance L Lᵀ, [B, T] each.

    They are the squares of L⁻¹ r and the logarithms of the diagonal of L. The log density of the residuals is
    Σ_t −½ first_t − second_t, up to a constant.
    """
    return _solve_lower(L_BTT, residual_BT1).squeeze(2).square(), L_BTT.diagonal(dim1=1, dim2=2).log()


def _solve_lower(L_BTT: Tensor, x_BTX: Tensor) -> Tensor:
    """Return L⁻¹ x."""
    return torch.linalg.solve_triangular(L_BTT, x_BTX, upper=False)
