"""The final ranker: it combines the scores of the sequence model and of the counted sources.

score(u, v) = Σ_s w_s · exp(a_{s, g(u)} + b_{s, h(v)}) · x_s(u, v) + c_{h(v)}

x_s is the score of source s in standard deviations, g(u) the activity group of the user, and h(v) the age
group of the video. The weights maximise the likelihood of a conditional logit (McFadden, 1974): the positives
of a validation day are chosen from all videos that the user could have been recommended. All sources are
counted before that day. A ridge penalty keeps a and b near 0, so that without much data all groups share w.
w is not negative: a source that only misled on the validation days is left out. With a negative weight a
better version of it would make the ranking worse (docs/experiments/2026-11-30-personal-scores.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

ACTIVITY_BOUNDS = (1, 10, 50)  # known interactions from which the next activity group begins
AGE_BOUNDS = (1, 2, 4, 8)  # days since upload from which the next age group begins
NUM_ACTIVITY_GROUPS = len(ACTIVITY_BOUNDS) + 1
NUM_AGE_GROUPS = len(AGE_BOUNDS) + 1
# Precision of the prior of each parameter: of w and c, and of the log deviations a and b of single groups.
SHARED_PENALTY, GROUP_PENALTY = 0.5, 10.0
MIN_STD = 1e-6  # a source that gives all videos the same score stays at 0
MAX_ITERATIONS = 200
INITIAL_WEIGHT = 0.1  # of each source in the fit; at 0 the deviations of its groups would have no gradient


def activity_groups(num_interactions_B: Tensor) -> Tensor:
    """Return the activity group of users with so many known interactions, [B]."""
    return torch.bucketize(num_interactions_B, torch.tensor(ACTIVITY_BOUNDS), right=True)


def age_groups(upload_day_V: Tensor | None, day: int | None, num_videos: int) -> Tensor:
    """Return the age group of each video on a day, [V]. It is the oldest if the days are unknown."""
    if upload_day_V is None or day is None:
        return torch.full((num_videos,), NUM_AGE_GROUPS - 1)
    return torch.bucketize(day - upload_day_V, torch.tensor(AGE_BOUNDS), right=True)


@dataclass(frozen=True)
class ChoiceData:
    """The choices of some users on a day. C: the videos that they choose from.

    Attributes:
        users_B: The users.
        rows_C: The videos, as rows of the catalogue.
        source_SBC: Score of each source.
        activity_B: Activity group of each user.
        age_C: Age group of each video.
        is_target_BC: Bool, the positives of the user on the day.
        is_candidate_BC: Bool, the videos that the user could be recommended.
        log_weight_C: Log of how many videos a sampled video stands for.
    """

    users_B: Tensor
    rows_C: Tensor
    source_SBC: Tensor
    activity_B: Tensor
    age_C: Tensor
    is_target_BC: Tensor
    is_candidate_BC: Tensor
    log_weight_C: Tensor


class FinalRanker(nn.Module):
    """Combines S sources by weights that depend on the groups of user and video.

    The initial ranker uses the first source only, and `is_fitted` is False.

    Attributes:
        mean_S, std_S: Of each source, on the data that the ranker was fitted on.
        weight_S: w.
        activity_weight_GS: a.
        age_weight_HS: b.
        age_bias_H: c.
    """

    mean_S: Tensor
    std_S: Tensor
    weight_S: Tensor
    activity_weight_GS: Tensor
    age_weight_HS: Tensor
    age_bias_H: Tensor
    is_fitted: Tensor

    def __init__(self, num_sources: int) -> None:
        super().__init__()
        first_S = torch.zeros(num_sources)
        first_S[:1] = 1.0
        self.register_buffer("mean_S", torch.zeros(num_sources))
        self.register_buffer("std_S", torch.ones(num_sources))
        self.register_buffer("weight_S", first_S)
        self.register_buffer("activity_weight_GS", torch.zeros(NUM_ACTIVITY_GROUPS, num_sources))
        self.register_buffer("age_weight_HS", torch.zeros(NUM_AGE_GROUPS, num_sources))
        self.register_buffer("age_bias_H", torch.zeros(NUM_AGE_GROUPS))
        self.register_buffer("is_fitted", torch.tensor(False))

    def forward(self, source_SBC: Tensor, activity_B: Tensor, age_C: Tensor) -> Tensor:
        """Return score_BC.

        Args:
            source_SBC: Score of each source.
            activity_B: Activity group of each user.
            age_C: Age group of each video.
        """
        x_SBC = (source_SBC - self.mean_S[:, None, None]) / self.std_S[:, None, None]
        parameters = (self.weight_S, self.activity_weight_GS, self.age_weight_HS, self.age_bias_H)
        return _combine(x_SBC, activity_B, age_C, *parameters)

    def fit(self, data: Sequence[ChoiceData]) -> float | None:
        """Fit the weights by maximum likelihood. Each user counts the same. Without targets nothing changes.

        Args:
            data: The choices of one or more days.

        Returns:
            The mean log-likelihood of a user under the fitted weights. None without targets.
        """
        data = [day for day in data if bool(day.is_target_BC.any())]
        if not data:
            return None
        known_SN = torch.cat([day.source_SBC[:, day.is_candidate_BC] for day in data], 1)
        self.mean_S.copy_(known_SN.mean(1))
        std_S = known_SN.std(1)
        self.std_S.copy_(torch.where(std_S > MIN_STD, std_S, torch.inf))
        standardised = [
            (day.source_SBC - self.mean_S[:, None, None]) / self.std_S[:, None, None] for day in data
        ]
        buffers = (self.weight_S, self.activity_weight_GS, self.age_weight_HS, self.age_bias_H)
        penalties = (SHARED_PENALTY, GROUP_PENALTY, GROUP_PENALTY, SHARED_PENALTY)

        def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
            parameters = [part.requires_grad_() for part in _unflatten(flat, buffers)]
            losses = [_choice_loss(day, x, parameters) for day, x in zip(data, standardised, strict=True)]
            ridge = [
                penalty * parameter.square().sum() / 2
                for penalty, parameter in zip(penalties, parameters, strict=True)
            ]
            loss = torch.stack([*losses, *ridge]).sum()
            gradients = torch.autograd.grad(loss, parameters)
            return loss.item(), torch.cat([g.flatten() for g in gradients]).cpu().double().numpy()

        num_parameters, num_sources = sum(buffer.numel() for buffer in buffers), len(self.weight_S)
        bounds = [(0.0, None)] * num_sources + [(None, None)] * (num_parameters - num_sources)
        fitted = minimize(
            loss_and_gradient,
            np.concatenate([np.full(num_sources, INITIAL_WEIGHT), np.zeros(num_parameters - num_sources)]),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": MAX_ITERATIONS},
        )
        parameters = _unflatten(fitted.x, buffers)
        for buffer, parameter in zip(buffers, parameters, strict=True):
            buffer.copy_(parameter)
        self.is_fitted.fill_(True)
        with torch.no_grad():
            losses = [_choice_loss(day, x, parameters) for day, x in zip(data, standardised, strict=True)]
        num_users = sum(int(day.is_target_BC.any(1).sum()) for day in data)
        return -float(torch.stack(losses).sum()) / num_users


def _unflatten(flat: np.ndarray, like: Sequence[Tensor]) -> list[Tensor]:
    """Return consecutive parts of the array as tensors like the given ones."""
    parts = torch.from_numpy(flat).to(like[0]).split([tensor.numel() for tensor in like])
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


def _combine(
    x_SBC: Tensor,
    activity_B: Tensor,
    age_C: Tensor,
    weight_S: Tensor,
    activity_weight_GS: Tensor,
    age_weight_HS: Tensor,
    age_bias_H: Tensor,
) -> Tensor:
    """Return the scores [B, C] of standardised sources."""
    weight_BS = weight_S * activity_weight_GS[activity_B].exp()
    scaled_SBC = x_SBC * age_weight_HS[age_C].exp().T.unsqueeze(1)
    return torch.einsum("sbc,bs->bc", scaled_SBC, weight_BS) + age_bias_H[age_C]


def _choice_loss(day: ChoiceData, x_SBC: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return the sum over users of the mean −log probability of their targets."""
    logit_BC = _combine(x_SBC, day.activity_B, day.age_C, *parameters) + day.log_weight_C
    log_p_BC = logit_BC.masked_fill(~day.is_candidate_BC, -torch.inf).log_softmax(1)
    num_targets_B = day.is_target_BC.sum(1).clamp(min=1)
    return -(torch.where(day.is_target_BC, log_p_BC, 0.0).sum(1) / num_targets_B).sum()
