"""Interest drift: a permutation test per user for a day on which the user's taste changed.

A linear taste is fitted to the engagement residuals of all days of a user. If the taste is constant, what the
fit leaves over says nothing about the content on any day. The test statistic is the largest CUSUM of
remainder × content over the days. Its distribution without drift comes from the same user, with the days in
random order. So videos that change from day to day and correlations within a day do not look like drift.

Nothing is learned about common days. The Benjamini-Hochberg procedure bounds the false discovery rate.

Sources: Brown, Durbin & Evans (1975) for the CUSUM; Benjamini & Hochberg (1995).

Result: silent without drift, and 43 % of the drifting users of `topics` are detected. On `sessions` no user
is detected (docs/experiments/2026-11-29-interest-drift.md). So a night does not test for drift.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

MIN_EVENTS = 20  # fewer events do not determine a taste
MIN_DAYS = 4  # fewer days have too few orders
MIN_EVENTS_PER_SIDE = 5  # a change needs so many events before it, and after it
RIDGE = 10.0  # prior precision of the taste
PERMUTATIONS = 1000
PERMUTATIONS_PER_CHUNK = 50
FALSE_DISCOVERY_RATE = 0.2


@dataclass(frozen=True)
class UserEvents:
    """The events of some users, oldest first, padded on the right.

    Attributes:
        content_BTD: Content of the video. A missing modality is 0, the mean of the videos.
        residual_BT: Engagement residual.
        day_BT: Day of the event. It does not decrease within a user.
        mask_BT: Bool. Values where it is False must not influence a result.
    """

    content_BTD: Tensor
    residual_BT: Tensor
    day_BT: Tensor
    mask_BT: Tensor


@dataclass(frozen=True)
class DriftTest:
    """The result for each user.

    Attributes:
        p_value_B: p-value of a constant taste. NaN if the user cannot be judged.
        day_B: First day after the most likely change, whether or not it is significant.
    """

    p_value_B: Tensor
    day_B: Tensor

    @property
    def has_drifted(self) -> Tensor:
        """Bool [B]: significant at FALSE_DISCOVERY_RATE among the judged users."""
        return significant(self.p_value_B, FALSE_DISCOVERY_RATE)


def detect_interest_drift(events: UserEvents, seed: int = 1) -> DriftTest:
    """Test each user for one day of change. The cost is linear in events, and in days × permutations."""
    day_index_BT, day_BY = _days_of_users(events.day_BT, events.mask_BT)
    score_BYD = _sum_by_day(_scores(events), day_index_BT, events.mask_BT, day_BY.shape[1])
    ones_BT1 = torch.ones_like(events.residual_BT).unsqueeze(2)
    count_BY = _sum_by_day(ones_BT1, day_index_BT, events.mask_BT, day_BY.shape[1]).squeeze(2)
    statistic_XB, change_B = _permuted_statistics(score_BYD, count_BY, seed)
    judged_B = (count_BY.sum(1) >= MIN_EVENTS) & ((count_BY > 0).sum(1) >= MIN_DAYS)
    p_value_B = permutation_p_values(statistic_XB).masked_fill(~judged_B, torch.nan)
    return DriftTest(p_value_B, day_BY.gather(1, change_B[:, None]).squeeze(1))


def permutation_p_values(statistic_XB: Tensor) -> Tensor:
    """Return the share of the orders whose statistic is at least that of the true order (row 0), [B]."""
    tolerance_B = 1e-5 * statistic_XB[0].abs()  # rounding differs between orders; ties count against drift
    return (statistic_XB >= statistic_XB[0] - tolerance_B).float().mean(0)


def significant(p_value_B: Tensor, rate: float) -> Tensor:
    """Return which hypotheses Benjamini-Hochberg rejects, Bool [B]. NaN is never rejected.

    Args:
        p_value_B: The p-values.
        rate: Expected share of false rejections among all rejections.
    """
    sorted_B = p_value_B.nan_to_num(2.0).sort().values
    bound_B = rate * torch.arange(1, len(sorted_B) + 1) / p_value_B.isfinite().sum().clamp(min=1)
    passed_B = sorted_B[sorted_B <= bound_B]
    return p_value_B <= passed_B[-1] if len(passed_B) else torch.zeros_like(p_value_B, dtype=torch.bool)


def _scores(events: UserEvents) -> Tensor:
    """Return what the constant taste leaves of the residual, times the content, [B, T, D]."""
    mask_BT1 = events.mask_BT.unsqueeze(2)
    content_BTD = _centred(events.content_BTD.masked_fill(~mask_BT1, 0.0), mask_BT1)
    residual_BT1 = _centred(events.residual_BT.unsqueeze(2).masked_fill(~mask_BT1, 0.0), mask_BT1)
    precision_BDD = content_BTD.mT @ content_BTD + RIDGE * torch.eye(content_BTD.shape[2])
    taste_BD1 = torch.linalg.solve(precision_BDD, content_BTD.mT @ residual_BT1)
    return (residual_BT1 - content_BTD @ taste_BD1) * content_BTD


def _centred(value_BTX: Tensor, mask_BT1: Tensor) -> Tensor:
    mean_B1X = value_BTX.sum(1, keepdim=True) / mask_BT1.sum(1, keepdim=True).clamp(min=1)
    return (value_BTX - mean_B1X) * mask_BT1


def _days_of_users(day_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Return the position of each event's day among the user's days [B, T], and these days [B, Y]."""
    is_new_BT = (day_BT.diff(dim=1, prepend=day_BT[:, :1]) != 0) & mask_BT
    index_BT = is_new_BT.cumsum(1)
    num_days = int(index_BT.max()) + 1
    day_BY = day_BT.new_full((len(day_BT), num_days), -1)
    return index_BT, day_BY.scatter_reduce(1, index_BT, day_BT.masked_fill(~mask_BT, -1), "amax")


def _sum_by_day(value_BTX: Tensor, day_index_BT: Tensor, mask_BT: Tensor, num_days: int) -> Tensor:
    index_BTX = day_index_BT.unsqueeze(2).expand_as(value_BTX)
    sum_BYX = value_BTX.new_zeros(len(value_BTX), num_days, value_BTX.shape[2])
    return sum_BYX.scatter_add(1, index_BTX, value_BTX * mask_BT.unsqueeze(2))


def _permuted_statistics(score_BYD: Tensor, count_BY: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Return the statistics of the true order (row 0) and of permutations, and the change's day index."""
    order_XBY = _day_orders(count_BY, seed)
    maxima = [
        _cusum(score_BYD, count_BY, order_XBY[i : i + PERMUTATIONS_PER_CHUNK]).max(2)
        for i in range(0, len(order_XBY), PERMUTATIONS_PER_CHUNK)
    ]
    last_day = count_BY.shape[1] - 1
    return torch.cat([maximum.values for maximum in maxima]), (maxima[0].indices[0] + 1).clamp(max=last_day)


def _day_orders(count_BY: Tensor, seed: int) -> Tensor:
    """Return orders of each user's days, the true one first. Days without events stay at the end."""
    B, Y = count_BY.shape
    generator = torch.Generator().manual_seed(seed)
    key_XBY = torch.rand(PERMUTATIONS + 1, B, Y, generator=generator)
    key_XBY[0] = torch.arange(Y) / Y
    return key_XBY.masked_fill(count_BY == 0, 2.0).argsort(dim=2, stable=True)


def _cusum(score_BYD: Tensor, count_BY: Tensor, order_XBY: Tensor) -> Tensor:
    """Return the squared CUSUM after each day, [X, B, Y]. It is −1 where no change can be."""
    X, D, total_B1 = len(order_XBY), score_BYD.shape[2], count_BY.sum(1, keepdim=True)
    before_XBY = count_BY.expand(X, -1, -1).gather(2, order_XBY).cumsum(2)
    index_XBYD = order_XBY.unsqueeze(3).expand(-1, -1, -1, D)
    sum_XBYD = score_BYD.expand(X, -1, -1, -1).gather(2, index_XBYD).cumsum(2)
    after_XBY = total_B1 - before_XBY
    variance_XBY = before_XBY * after_XBY / total_B1
    expected_XBYD = sum_XBYD[:, :, -1:] * (before_XBY / total_B1).unsqueeze(3)  # ridge leaves a total
    squared_XBY = (sum_XBYD - expected_XBYD).square().sum(3) / variance_XBY.clamp(min=1e-9)
    possible_XBY = (before_XBY >= MIN_EVENTS_PER_SIDE) & (after_XBY >= MIN_EVENTS_PER_SIDE)
    return squared_XBY.masked_fill(~possible_XBY, -1.0)
