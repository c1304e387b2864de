"""The day on which an interest changed: found from what was answered, and not where there was no change."""

from dataclasses import replace

import pytest
import torch

from models.drift import Drift, log_evidence, weigh
from models.histories import DAY_SECONDS, Batch
from tests.models.worlds import everybody, histories

PEOPLE, A_DAY, DAYS, D = 8, 12, 8, 5
CHANGE = 5  # the day on which the odd people's taste is turned over


def a_week() -> tuple[torch.Tensor, torch.Tensor, Batch]:
    """f_BTD, response_BT and the batch: every second person's taste changes on one day."""
    draw, T = torch.Generator().manual_seed(3), A_DAY * DAYS
    past = histories((T,) * PEOPLE)
    past = replace(past, second_E=(torch.arange(T) // A_DAY * DAY_SECONDS).repeat(PEOPLE))
    batch = past.batch(everybody(past), T)
    f_BTD = torch.nn.functional.normalize(torch.randn(PEOPLE, T, D, generator=draw), dim=2)
    taste_BD = 2 * torch.randn(PEOPLE, D, generator=draw)
    odd_B1 = (torch.arange(PEOPLE) % 2 == 1)[:, None]
    sign_BT = torch.where(odd_B1 & (batch.day_BT >= CHANGE), -1.0, 1.0)
    liking_BT = (f_BTD * taste_BD[:, None]).sum(2) * sign_BT
    return f_BTD, liking_BT + 0.5 * torch.randn(PEOPLE, T, generator=draw), batch


def found(f_BTD: torch.Tensor, response_BT: torch.Tensor, batch: Batch) -> Drift:
    day_K = torch.arange(1, DAYS)
    return weigh(log_evidence(f_BTD, response_BT, batch, day_K), day_K)


def test_who_changed_is_found_with_the_day_and_who_did_not_is_left_alone() -> None:
    drift = found(*a_week())
    assert drift.changed.tolist() == [False, True] * (PEOPLE // 2)
    assert drift.day[1::2].tolist() == [CHANGE] * (PEOPLE // 2)
    assert torch.allclose(drift.p_BK.sum(1) + drift.p_never_B, torch.ones(PEOPLE))


def test_a_day_on_which_many_change_is_likelier_for_one_who_tells_nothing() -> None:
    f_BTD, response_BT, batch = a_week()
    f_BTD[0] = 0.0  # videos without content
    drift = found(f_BTD, response_BT, batch)
    assert drift.day[0] == CHANGE
    assert drift.p_never_B[0] == pytest.approx(0.5, abs=1e-4)


def test_what_stands_in_the_padding_changes_nothing() -> None:
    f_BTD, response_BT, batch = a_week()
    batch = replace(batch, mask_BT=batch.mask_BT & (torch.arange(A_DAY * DAYS) < 50))
    before = found(f_BTD, response_BT, batch)
    f_BTD[:, 50:], response_BT[:, 50:] = 7.0, 7.0
    assert torch.equal(before.p_BK, found(f_BTD, response_BT, batch).p_BK)


def test_nobody_changed_on_a_day_that_lies_before_or_after_all_they_did() -> None:
    f_BTD, response_BT, batch = a_week()
    late = replace(
        batch, mask_BT=batch.mask_BT & ((torch.arange(PEOPLE) != 1)[:, None] | (batch.day_BT >= 4))
    )
    drift = found(f_BTD, response_BT, late)
    assert drift.p_BK[1, :4].eq(0).all()  # days 1 to 4: there is nothing before them
    assert drift.day[1] == CHANGE
    one_day = replace(
        batch, mask_BT=batch.mask_BT & ((torch.arange(PEOPLE) != 1)[:, None] | (batch.day_BT == 6))
    )
    drift = found(f_BTD, response_BT, one_day)
    assert drift.p_never_B[1] == 1
    assert not drift.changed[1]
