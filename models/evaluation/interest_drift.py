"""Interest drift: the day on which a user's taste changed, inferred from what the user did.

The engagement residuals of a user are a Gaussian process over the videos, fused with the user's modality
weights. The covariance of two residuals is ⟨f, f′⟩. Unlike in models/layers/gaussian_process.py it does not
decay with the days. After a drift, earlier taste says little about later taste. So residuals on either side
share only a part of their covariance. The prior of the days comes from the population (empirical Bayes).
Whether a user drifted comes from the user's own residuals.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.data.sequences import SequenceBatch
from models.layers.gaussian_process import CONTENT_VARIANCE, NOISE_VARIANCE, USER_VARIANCE, log_density_terms

SHARED_COVARIANCE = 0.3  # share of the covariance that remains across a drift
PRIOR_NO_DRIFT = 0.5  # prior probability of no drift
PSEUDO_COUNT = 1.0  # users that are spread evenly over the days, so that no day is impossible
EM_ITERATIONS = 30


@dataclass(frozen=True)
class InterestDrift:
    """The inferred interest drift of each user.

    Attributes:
        day_Y: Days on which interests could drift, counted from 1970. A drift is before the day's first
            event.
        drift_probability_BY: Probability of a drift on that day.
        no_drift_probability_B: Probability of no drift.
    """

    day_Y: Tensor
    drift_probability_BY: Tensor
    no_drift_probability_B: Tensor

    @property
    def has_drifted(self) -> Tensor:
        """Bool [B]: a drift is more likely than none."""
        return self.no_drift_probability_B < 0.5

    @property
    def most_likely_day(self) -> Tensor:
        """The most likely day of a drift [B], whether or not there was one."""
        return self.day_Y[self.drift_probability_BY.argmax(1)]


@torch.no_grad()
def drift_log_evidence(f_BTD: Tensor, residual_BT: Tensor, batch: SequenceBatch, day_Y: Tensor) -> Tensor:
    """Return ln p(residuals | drift before that day), [B, Y + 1]. The last column is no drift.

    It is −inf for a day without an event of the user before it, or without one after it.

    Args:
        f_BTD: Item embeddings of the events, fused with the user's modality weights.
        residual_BT: Engagement residuals.
        batch: The events.
        day_Y: Days to compare, counted from 1970.
    """
    mask_BT = batch.mask_BT
    both_BTT = mask_BT.unsqueeze(2) & mask_BT.unsqueeze(1)
    kernel_BTT = CONTENT_VARIANCE * f_BTD @ f_BTD.mT
    noise_TT = NOISE_VARIANCE * torch.eye(mask_BT.shape[1])
    by_day = []
    for day in [*day_Y.tolist(), None]:
        after_BT = torch.zeros_like(mask_BT) if day is None else batch.day_BT >= day
        across_BTT = after_BT.unsqueeze(2) != after_BT.unsqueeze(1)
        covariance_BTT = torch.where(across_BTT, SHARED_COVARIANCE, 1.0) * kernel_BTT + USER_VARIANCE
        L_BTT = torch.linalg.cholesky_ex(torch.where(both_BTT, covariance_BTT, 0.0) + noise_TT).L
        squared_BT, log_diagonal_BT = log_density_terms(L_BTT, (residual_BT * mask_BT).unsqueeze(2))
        log_evidence_B = -0.5 * squared_BT.sum(1) - (log_diagonal_BT * mask_BT).sum(1)
        identifiable_B = (after_BT & mask_BT).any(1) & (~after_BT & mask_BT).any(1)
        by_day.append(
            log_evidence_B if day is None else log_evidence_B.masked_fill(~identifiable_B, -torch.inf)
        )
    return torch.stack(by_day, 1)


def drift_posterior(log_evidence_BY: Tensor, day_Y: Tensor) -> InterestDrift:
    """Return the posterior of each day and of no drift.

    The prior of the days is fitted to the population. Each user's prior covers the days that have a log
    evidence. A user without such a day has no drift.

    Args:
        log_evidence_BY: Output of `drift_log_evidence`.
        day_Y: Its days.
    """
    identifiable_BY = log_evidence_BY[:, :-1] > -torch.inf
    no_drift_B1 = torch.where(identifiable_BY.any(1, keepdim=True), PRIOR_NO_DRIFT, 1.0)
    day_prior_Y = torch.full((len(day_Y),), 1 / len(day_Y))
    for _ in range(EM_ITERATIONS):
        day_prior_BY = day_prior_Y * identifiable_BY
        day_prior_BY = day_prior_BY / day_prior_BY.sum(1, keepdim=True).clamp(min=1e-9)
        prior_BY = torch.cat([(1 - no_drift_B1) * day_prior_BY, no_drift_B1], 1)
        posterior_BY = torch.softmax(log_evidence_BY + prior_BY.log(), 1)
        day_prior_Y = posterior_BY[:, :-1].sum(0) + PSEUDO_COUNT / len(day_Y)
        day_prior_Y = day_prior_Y / day_prior_Y.sum()
    return InterestDrift(day_Y, posterior_BY[:, :-1], posterior_BY[:, -1])
