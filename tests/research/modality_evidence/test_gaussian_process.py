"""Log evidence and posterior mean: definition, causality, recovery."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from models.data.sequences import SequenceBatch
from research.modality_evidence import gaussian_process
from research.modality_evidence.gaussian_process import (
    CONTENT_VARIANCE,
    DAILY_DECAY,
    KERNEL_SHARPNESS,
    NOISE_VARIANCE,
    USER_VARIANCE,
    posterior_mean,
    simplex_grid,
)
from tests.support.model_inputs import all_users, make_sequences

T, M, D = 8, 3, 4


def log_evidence(
    x_BTMD: torch.Tensor, residual_BT: torch.Tensor, batch: SequenceBatch, weights_GM: torch.Tensor
) -> torch.Tensor:
    """Return the log evidence with the same residuals at every grid point."""
    residual_BTG = residual_BT.unsqueeze(2).expand(-1, -1, len(weights_GM))
    return gaussian_process.log_evidence(x_BTMD, residual_BTG, batch, weights_GM)


def inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x_BTMD and residual_BT of four users."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, T, M, D, generator=generator), torch.randn(4, T, generator=generator)


@given(modalities=st.integers(1, 5))
def test_grid_points_are_distinct_and_sum_to_1(modalities: int) -> None:
    weights_GM = simplex_grid(modalities)
    assert torch.allclose(weights_GM.sum(1), torch.ones(len(weights_GM)))
    assert len(weights_GM.unique(dim=0)) == len(weights_GM)


def test_log_evidence_is_the_density_of_a_gaussian_process() -> None:
    sequences = make_sequences((0, 1, 5, 8))
    batch = sequences.padded_batch(all_users(sequences), T)
    (x_BTMD, residual_BT) = inputs()
    weights_GM = simplex_grid(M)
    x_BTMD[3, 2, 1] = 0.0  # missing
    log_evidence_BSG = log_evidence(x_BTMD, residual_BT, batch, weights_GM)
    weights_M = weights_GM[4]
    assert (weights_M > 0).sum() > 1
    kernel_TT = torch.zeros(T, T)
    for m, n in product(range(M), repeat=2):
        a_TD, b_TD = x_BTMD[3, :, m], x_BTMD[3, :, n]
        cosine_TT = torch.cosine_similarity(a_TD[:, None], b_TD[None], dim=2)
        both_present_TT = a_TD.any(1)[:, None] & b_TD.any(1)[None]
        kernel_TT += (
            weights_M[m] * weights_M[n] * torch.exp(KERNEL_SHARPNESS * (cosine_TT - 1)) * both_present_TT
        )
    day_gap_TT = (batch.day_BT[3][:, None] - batch.day_BT[3]).abs()
    covariance = (
        CONTENT_VARIANCE * kernel_TT * DAILY_DECAY**day_gap_TT + USER_VARIANCE + NOISE_VARIANCE * torch.eye(T)
    )
    for seen in range(1, T + 1):
        density = multivariate_normal(np.zeros(seen), covariance[:seen, :seen].double().numpy())
        expected = density.logpdf(residual_BT[3, :seen].numpy()) + seen * np.log(2 * np.pi) / 2
        assert log_evidence_BSG[3, seen, 4].item() == pytest.approx(expected, abs=1e-4)
    assert log_evidence_BSG[:, 0].eq(0).all()
    assert torch.equal(log_evidence_BSG[1, 1], log_evidence_BSG[1, -1])  # padding changes nothing


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, T - 1))
def test_later_events_do_not_change_earlier_log_evidence(cut: int) -> None:
    sequences = make_sequences((8, 8, 8, 8))
    batch = sequences.padded_batch(all_users(sequences), T)
    (x_BTMD, residual_BT) = inputs()
    (other_BTMD, other_residual_BT) = inputs(1)
    before = log_evidence(x_BTMD, residual_BT, batch, simplex_grid(M))
    x_BTMD[:, cut:], residual_BT[:, cut:] = other_BTMD[:, cut:], other_residual_BT[:, cut:]
    after = log_evidence(x_BTMD, residual_BT, batch, simplex_grid(M))
    assert torch.equal(before[:, : cut + 1], after[:, : cut + 1])
    assert not torch.equal(before[:, cut + 1 :], after[:, cut + 1 :])


@pytest.mark.parametrize("missing", [[0], [2], [0, 1]])
def test_missing_modalities_are_not_taken_as_0(missing: list[int]) -> None:
    sequences = make_sequences((0, 1, 5, 8))
    batch, (x_BTMD, residual_BT) = sequences.padded_batch(all_users(sequences), T), inputs()
    present = [m for m in range(M) if m not in missing]
    x_BTMD[3, 2] = x_BTMD[3, 2, present].mean(0)  # missing modalities equal the mean of the others
    whole_BSD = posterior_mean(x_BTMD, residual_BT, batch)
    x_BTMD[3, 2, missing] = 0.0
    assert torch.allclose(posterior_mean(x_BTMD, residual_BT, batch), whole_BSD, atol=1e-5)


def test_posterior_mean_equals_the_closed_form() -> None:
    sequences = make_sequences((0, 1, 5, 8))
    batch, (x_BTMD, residual_BT) = sequences.padded_batch(all_users(sequences), T), inputs()
    theta_BSD = posterior_mean(x_BTMD, residual_BT, batch)
    f_TD, day_T = x_BTMD[3].mean(1) / D**0.5, batch.day_BT[3]
    covariance = (
        CONTENT_VARIANCE * (f_TD @ f_TD.T) * DAILY_DECAY ** (day_T[:, None] - day_T).abs()
        + USER_VARIANCE
        + NOISE_VARIANCE * torch.eye(T)
    )
    for seen in range(1, T + 1):
        weight_T = torch.linalg.solve(covariance[:seen, :seen], residual_BT[3, :seen])
        decay_T = DAILY_DECAY ** (day_T[seen - 1] - day_T[:seen])
        expected_D = CONTENT_VARIANCE * (weight_T * decay_T) @ f_TD[:seen]
        assert torch.allclose(theta_BSD[3, seen], expected_D, atol=1e-4)
    assert theta_BSD[:, 0].eq(0).all()
    assert theta_BSD[1, 2:].eq(0).all()  # padding


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, T - 1))
def test_later_events_do_not_change_an_earlier_posterior_mean(cut: int) -> None:
    sequences = make_sequences((8, 8, 8, 8))
    batch = sequences.padded_batch(all_users(sequences), T)
    (x_BTMD, residual_BT) = inputs()
    (other_BTMD, other_residual_BT) = inputs(1)
    before = posterior_mean(x_BTMD, residual_BT, batch)
    x_BTMD[:, cut:], residual_BT[:, cut:] = other_BTMD[:, cut:], other_residual_BT[:, cut:]
    after = posterior_mean(x_BTMD, residual_BT, batch)
    assert torch.equal(before[:, : cut + 1], after[:, : cut + 1])
    assert not torch.equal(before[:, cut + 1 :], after[:, cut + 1 :])


def test_an_event_a_year_later_does_not_change_an_earlier_posterior_mean() -> None:
    sequences = make_sequences((8,))
    sequences.timestamp_E[:] = torch.tensor([0, 5, 10, 12, 13, 20, 21, 25]) * 86_400
    x_BTMD, residual_BT = (part[:1] for part in inputs())
    before = posterior_mean(x_BTMD, residual_BT, sequences.padded_batch(all_users(sequences), T))
    sequences.timestamp_E[-1] = 500 * 86_400
    after = posterior_mean(x_BTMD, residual_BT, sequences.padded_batch(all_users(sequences), T))
    assert torch.allclose(before[:, :8], after[:, :8], atol=1e-6)


def test_the_posterior_mean_of_many_years_is_finite() -> None:
    sequences = make_sequences((8,))
    sequences.timestamp_E[:] = torch.arange(8) * 400 * 86_400
    x_BTMD, residual_BT = inputs()
    assert (
        posterior_mean(x_BTMD[:1], residual_BT[:1], sequences.padded_batch(all_users(sequences), T))
        .isfinite()
        .all()
    )


def test_log_evidence_recovers_the_preferred_modality() -> None:
    sequences = make_sequences((60,) * 6, videos=12)
    batch, generator = sequences.padded_batch(all_users(sequences), 60), torch.Generator().manual_seed(5)
    x_BTMD = torch.nn.functional.normalize(torch.randn(6, 60, M, 6, generator=generator), dim=3) * 6**0.5
    preference_BD = torch.randn(6, 6, generator=generator)
    modality_B = torch.arange(6) % M
    chosen_BTD = x_BTMD[torch.arange(6), :, modality_B]
    residual_BT = (chosen_BTD * preference_BD[:, None]).sum(2) * 6**-0.5 + 0.3 * torch.randn(
        6, 60, generator=generator
    )
    log_evidence_BG = log_evidence(x_BTMD, residual_BT, batch, simplex_grid(M))[:, -1]
    weights_BM = torch.softmax(log_evidence_BG, 1) @ simplex_grid(M)
    assert torch.equal(weights_BM.argmax(1), modality_B)


def test_chunks_of_users_do_not_change_log_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = make_sequences((0, 1, 5, 8))
    batch, (x_BTMD, residual_BT) = sequences.padded_batch(all_users(sequences), T), inputs()
    whole = log_evidence(x_BTMD, residual_BT, batch, simplex_grid(M))
    monkeypatch.setattr(gaussian_process, "MAX_KERNEL_ENTRIES", 3 * (T * M) ** 2)
    assert torch.allclose(log_evidence(x_BTMD, residual_BT, batch, simplex_grid(M)), whole, atol=1e-5)
    empty_batch = sequences.padded_batch(torch.zeros(0, dtype=torch.long), T)
    none = log_evidence(x_BTMD[:0, :0], residual_BT[:0, :0], empty_batch, simplex_grid(M))
    assert none.shape == (0, 1, len(simplex_grid(M)))


def test_residuals_may_differ_between_grid_points() -> None:
    sequences = make_sequences((8,))
    batch = sequences.padded_batch(all_users(sequences), T)
    (x_BTMD, residual_BT) = inputs()
    weights_GM = simplex_grid(M)
    residual_BTG = residual_BT[:1, :, None] - torch.linspace(-1, 1, len(weights_GM))
    log_evidence_BSG = gaussian_process.log_evidence(x_BTMD[:1], residual_BTG, batch, weights_GM)
    for g, residual_BT1 in enumerate(residual_BTG.unbind(2)):
        alone = log_evidence(x_BTMD[:1], residual_BT1, batch, weights_GM)[..., g]
        assert torch.allclose(log_evidence_BSG[..., g], alone, atol=1e-5)
