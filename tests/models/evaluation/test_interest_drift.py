"""Interest drift is inferred from engagement residuals, and only where there was one."""

from dataclasses import replace

import pytest
import torch

from models.data.sequences import SECONDS_PER_DAY, SequenceBatch
from models.evaluation.interest_drift import InterestDrift, drift_log_evidence, drift_posterior
from tests.support.model_inputs import all_users, make_sequences

USERS, EVENTS_PER_DAY, DAYS, D = 8, 12, 8, 5
CHANGE = 5  # the day on which the preference of every second user changes its sign


def drifting_users() -> tuple[torch.Tensor, torch.Tensor, SequenceBatch]:
    """Return f_BTD, residual_BT and the batch. The preference of every second user changes on one day."""
    generator, T = torch.Generator().manual_seed(3), EVENTS_PER_DAY * DAYS
    sequences = make_sequences((T,) * USERS)
    sequences = replace(
        sequences, timestamp_E=(torch.arange(T) // EVENTS_PER_DAY * SECONDS_PER_DAY).repeat(USERS)
    )
    batch = sequences.padded_batch(all_users(sequences), T)
    f_BTD = torch.nn.functional.normalize(torch.randn(USERS, T, D, generator=generator), dim=2)
    preference_BD = 2 * torch.randn(USERS, D, generator=generator)
    odd_B1 = (torch.arange(USERS) % 2 == 1)[:, None]
    sign_BT = torch.where(odd_B1 & (batch.day_BT >= CHANGE), -1.0, 1.0)
    affinity_BT = (f_BTD * preference_BD[:, None]).sum(2) * sign_BT
    return f_BTD, affinity_BT + 0.5 * torch.randn(USERS, T, generator=generator), batch


def compute_posterior(f_BTD: torch.Tensor, residual_BT: torch.Tensor, batch: SequenceBatch) -> InterestDrift:
    day_Y = torch.arange(1, DAYS)
    return drift_posterior(drift_log_evidence(f_BTD, residual_BT, batch, day_Y), day_Y)


def test_drifting_users_are_detected_with_their_day() -> None:
    drift = compute_posterior(*drifting_users())
    assert drift.has_drifted.tolist() == [False, True] * (USERS // 2)
    assert drift.most_likely_day[1::2].tolist() == [CHANGE] * (USERS // 2)
    assert torch.allclose(drift.drift_probability_BY.sum(1) + drift.no_drift_probability_B, torch.ones(USERS))


def test_a_common_drift_day_is_likely_for_an_uninformative_user() -> None:
    f_BTD, residual_BT, batch = drifting_users()
    f_BTD[0] = 0.0  # videos without content
    drift = compute_posterior(f_BTD, residual_BT, batch)
    assert drift.most_likely_day[0] == CHANGE
    assert drift.no_drift_probability_B[0] == pytest.approx(0.5, abs=1e-4)


def test_padding_values_change_nothing() -> None:
    f_BTD, residual_BT, batch = drifting_users()
    batch = replace(batch, mask_BT=batch.mask_BT & (torch.arange(EVENTS_PER_DAY * DAYS) < 50))
    before = compute_posterior(f_BTD, residual_BT, batch)
    f_BTD[:, 50:], residual_BT[:, 50:] = 7.0, 7.0
    assert torch.equal(
        before.drift_probability_BY, compute_posterior(f_BTD, residual_BT, batch).drift_probability_BY
    )


def test_drift_days_lie_within_the_events_of_the_user() -> None:
    f_BTD, residual_BT, batch = drifting_users()
    late = replace(batch, mask_BT=batch.mask_BT & ((torch.arange(USERS) != 1)[:, None] | (batch.day_BT >= 4)))
    drift = compute_posterior(f_BTD, residual_BT, late)
    assert drift.drift_probability_BY[1, :4].eq(0).all()  # days 1 to 4 have no earlier event
    assert drift.most_likely_day[1] == CHANGE
    one_day = replace(
        batch, mask_BT=batch.mask_BT & ((torch.arange(USERS) != 1)[:, None] | (batch.day_BT == 6))
    )
    drift = compute_posterior(f_BTD, residual_BT, one_day)
    assert drift.no_drift_probability_B[1] == 1
    assert not drift.has_drifted[1]
