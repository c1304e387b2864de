"""The permutation test finds planted drift on its day, and stays silent without it."""

from dataclasses import replace

import pytest
import torch

from research.studies import interest_drift
from research.studies.interest_drift import UserEvents, detect_interest_drift, significant

EVENTS_PER_DAY, DAYS, D = 12, 10, 4
FIRST_DAY, CHANGE = 100, 105


def make_events(num_users: int, drifting: int = 0, seed: int = 3) -> UserEvents:
    """Return users with a taste of their own. The first ones like the opposite from CHANGE on.

    All users see other videos each day: the content moves with the day.
    """
    generator, T = torch.Generator().manual_seed(seed), EVENTS_PER_DAY * DAYS
    day_BT = (FIRST_DAY + torch.arange(T) // EVENTS_PER_DAY).expand(num_users, -1)
    content_BTD = torch.randn(num_users, T, D, generator=generator) * D**-0.5
    content_BTD[:, :, 0] += 0.1 * (day_BT - FIRST_DAY)
    taste_B1D = torch.randn(num_users, 1, D, generator=generator)
    changed_BT = (torch.arange(num_users) < drifting)[:, None] & (day_BT >= CHANGE)
    affinity_BT = (content_BTD * taste_B1D).sum(2) * torch.where(changed_BT, -1.0, 1.0)
    residual_BT = affinity_BT + 0.5 * torch.randn(num_users, T, generator=generator)
    return UserEvents(content_BTD, residual_BT, day_BT, torch.ones(num_users, T, dtype=torch.bool))


def test_a_user_who_changes_is_detected_on_the_right_day() -> None:
    result = detect_interest_drift(make_events(num_users=12, drifting=6))
    assert result.has_drifted[:6].all()
    assert result.has_drifted[6:].sum() <= 1  # a fifth of the flagged users may be wrong
    assert result.day_B[:6].tolist() == [CHANGE] * 6


def test_users_who_do_not_change_are_not_flagged() -> None:
    result = detect_interest_drift(make_events(num_users=200))
    assert not result.has_drifted.any()
    assert (result.p_value_B <= 0.05).float().mean() <= 0.1
    assert (result.p_value_B <= 0.5).float().mean() == pytest.approx(0.5, abs=0.15)


def test_the_false_discovery_rate_is_bounded() -> None:
    generator = torch.Generator().manual_seed(1)
    shares = []
    for _ in range(200):
        p_value_B = torch.rand(200, generator=generator)
        p_value_B[:40] *= 0.005  # false hypotheses
        rejected_B = significant(p_value_B, 0.2)
        shares.append(rejected_B[40:].sum() / rejected_B.sum().clamp(min=1))
    assert 0.1 < torch.stack(shares).mean() < 0.2
    p_value_B = torch.tensor([0.01, 0.09, 0.5, torch.nan])
    assert significant(p_value_B, 0.2).tolist() == [True, True, False, False]
    assert not significant(torch.tensor([0.5, torch.nan]), 0.2).any()


def test_the_order_within_a_day_and_of_users_changes_nothing() -> None:
    events = make_events(num_users=4, drifting=2)
    reverse_T = torch.arange(EVENTS_PER_DAY * DAYS).view(DAYS, -1).flip(1).flatten()
    reordered = UserEvents(*(value[:, reverse_T] for value in vars(events).values()))
    before, after = detect_interest_drift(events), detect_interest_drift(reordered)
    assert torch.allclose(before.p_value_B, after.p_value_B, atol=2e-3)
    assert torch.equal(before.day_B, after.day_B)


def test_padding_changes_nothing() -> None:
    events = make_events(num_users=4, drifting=4)
    masked_BT = events.mask_BT & (torch.arange(EVENTS_PER_DAY * DAYS) < 90)
    padded = replace(events, mask_BT=masked_BT)
    noisy = replace(
        padded,
        content_BTD=events.content_BTD.masked_fill(~masked_BT.unsqueeze(2), 7.0),
        residual_BT=events.residual_BT.masked_fill(~masked_BT, torch.nan),
        day_BT=events.day_BT.masked_fill(~masked_BT, 0),
    )
    short = UserEvents(*(value[:, :90] for value in vars(events).values()))
    results = [detect_interest_drift(case) for case in (padded, noisy, short)]
    assert all(torch.allclose(results[0].p_value_B, result.p_value_B, atol=0.02) for result in results)
    assert all(result.day_B.tolist() == [CHANGE] * 4 for result in results)


def test_users_with_few_events_or_days_are_not_judged() -> None:
    events = make_events(num_users=3)
    position_T = torch.arange(EVENTS_PER_DAY * DAYS)
    few_events = position_T % EVENTS_PER_DAY < 1
    few_days = position_T < (interest_drift.MIN_DAYS - 1) * EVENTS_PER_DAY
    result = detect_interest_drift(
        replace(events, mask_BT=torch.stack([few_events, few_days, position_T >= 0]))
    )
    assert result.p_value_B.isfinite().tolist() == [False, False, True]
    assert not result.has_drifted.any()


def test_a_user_without_content_is_never_flagged() -> None:
    events = make_events(num_users=2)
    result = detect_interest_drift(replace(events, content_BTD=torch.zeros_like(events.content_BTD)))
    assert result.p_value_B.tolist() == [1.0, 1.0]
