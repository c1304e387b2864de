"""The evidence for a mixture of modalities: what it is, that it tells the right one; what changes nothing."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from models import evidence
from models.evidence import HABIT, LASTING, NOISE, SHARP, TASTE, mixtures, taste
from models.histories import Batch
from tests.models.worlds import everybody, histories

T, M, D = 8, 3, 4


def log_evidence(
    x_BTMD: torch.Tensor, response_BT: torch.Tensor, batch: Batch, mixture_GM: torch.Tensor
) -> torch.Tensor:
    """The evidence where the same is expected under every mixture."""
    response_BTG = response_BT.unsqueeze(2).expand(-1, -1, len(mixture_GM))
    return evidence.log_evidence(x_BTMD, response_BTG, batch, mixture_GM)


def inputs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """x_BTMD and response_BT of four people of whom two have a full history."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(4, T, M, D, generator=draw), torch.randn(4, T, generator=draw)


@given(modalities=st.integers(1, 5))
def test_mixtures_are_all_different_and_each_sums_to_one(modalities: int) -> None:
    mixture_GM = mixtures(modalities)
    assert torch.allclose(mixture_GM.sum(1), torch.ones(len(mixture_GM)))
    assert len(mixture_GM.unique(dim=0)) == len(mixture_GM)


def test_it_is_the_density_of_a_gaussian_process_over_every_beginning_of_a_history() -> None:
    past = histories((0, 1, 5, 8))
    batch, (x_BTMD, response_BT), mixture_GM = past.batch(everybody(past), T), inputs(), mixtures(M)
    x_BTMD[3, 2, 1] = 0.0  # missing
    told_BSG = log_evidence(x_BTMD, response_BT, batch, mixture_GM)
    mixture_M = mixture_GM[4]
    assert (mixture_M > 0).sum() > 1
    alike_TT = torch.zeros(T, T)
    for m, n in product(range(M), repeat=2):
        a_TD, b_TD = x_BTMD[3, :, m], x_BTMD[3, :, n]
        cosine_TT = torch.cosine_similarity(a_TD[:, None], b_TD[None], dim=2)
        there_TT = a_TD.any(1)[:, None] & b_TD.any(1)[None]
        alike_TT += mixture_M[m] * mixture_M[n] * torch.exp(SHARP * (cosine_TT - 1)) * there_TT
    apart_TT = (batch.day_BT[3][:, None] - batch.day_BT[3]).abs()
    covariance = TASTE * alike_TT * LASTING**apart_TT + HABIT + NOISE * torch.eye(T)
    for seen in range(1, T + 1):
        density = multivariate_normal(np.zeros(seen), covariance[:seen, :seen].double().numpy())
        expected = density.logpdf(response_BT[3, :seen].numpy()) + seen * np.log(2 * np.pi) / 2
        assert told_BSG[3, seen, 4].item() == pytest.approx(expected, abs=1e-4)
    assert told_BSG[:, 0].eq(0).all()
    assert torch.equal(told_BSG[1, 1], told_BSG[1, -1])  # padding tells nothing


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, T - 1))
def test_a_change_to_later_events_never_changes_what_was_told_before(cut: int) -> None:
    past = histories((8, 8, 8, 8))
    batch, (x_BTMD, response_BT), (other, answers) = past.batch(everybody(past), T), inputs(), inputs(1)
    before = log_evidence(x_BTMD, response_BT, batch, mixtures(M))
    x_BTMD[:, cut:], response_BT[:, cut:] = other[:, cut:], answers[:, cut:]
    after = log_evidence(x_BTMD, response_BT, batch, mixtures(M))
    assert torch.equal(before[:, : cut + 1], after[:, : cut + 1])
    assert not torch.equal(before[:, cut + 1 :], after[:, cut + 1 :])


@pytest.mark.parametrize("missing", [[0], [2], [0, 1]])
def test_what_a_video_lacks_is_not_taken_for_zero(missing: list[int]) -> None:
    past = histories((0, 1, 5, 8))
    batch, (x_BTMD, response_BT) = past.batch(everybody(past), T), inputs()
    there = [m for m in range(M) if m not in missing]
    x_BTMD[3, 2] = x_BTMD[3, 2, there].mean(0)  # as if it had all, and they agreed
    whole_BSD = taste(x_BTMD, response_BT, batch)
    x_BTMD[3, 2, missing] = 0.0
    assert torch.allclose(taste(x_BTMD, response_BT, batch), whole_BSD, atol=1e-5)


def test_what_is_foretold_is_the_posterior_mean_at_every_beginning_of_a_history() -> None:
    past = histories((0, 1, 5, 8))
    batch, (x_BTMD, response_BT) = past.batch(everybody(past), T), inputs()
    theta_BSD = taste(x_BTMD, response_BT, batch)
    f_TD, day_T = x_BTMD[3].mean(1) / D**0.5, batch.day_BT[3]
    covariance = (
        TASTE * (f_TD @ f_TD.T) * LASTING ** (day_T[:, None] - day_T).abs() + HABIT + NOISE * torch.eye(T)
    )
    for seen in range(1, T + 1):
        weight_T = torch.linalg.solve(covariance[:seen, :seen], response_BT[3, :seen])
        fading_T = LASTING ** (day_T[seen - 1] - day_T[:seen])
        expected_D = TASTE * (weight_T * fading_T) @ f_TD[:seen]
        assert torch.allclose(theta_BSD[3, seen], expected_D, atol=1e-4)
    assert theta_BSD[:, 0].eq(0).all()
    assert theta_BSD[1, 2:].eq(0).all()  # padding


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, T - 1))
def test_a_change_to_later_events_never_changes_what_was_foretold_before(cut: int) -> None:
    past = histories((8, 8, 8, 8))
    batch, (x_BTMD, response_BT), (other, answers) = past.batch(everybody(past), T), inputs(), inputs(1)
    before = taste(x_BTMD, response_BT, batch)
    x_BTMD[:, cut:], response_BT[:, cut:] = other[:, cut:], answers[:, cut:]
    after = taste(x_BTMD, response_BT, batch)
    assert torch.equal(before[:, : cut + 1], after[:, : cut + 1])
    assert not torch.equal(before[:, cut + 1 :], after[:, cut + 1 :])


def test_what_happens_a_year_later_does_not_change_what_was_foretold_before() -> None:
    past = histories((8,))
    past.second_E[:] = torch.tensor([0, 5, 10, 12, 13, 20, 21, 25]) * 86_400
    x_BTMD, response_BT = (part[:1] for part in inputs())
    before = taste(x_BTMD, response_BT, past.batch(everybody(past), T))
    past.second_E[-1] = 500 * 86_400
    after = taste(x_BTMD, response_BT, past.batch(everybody(past), T))
    assert torch.allclose(before[:, :8], after[:, :8], atol=1e-6)


def test_a_history_of_many_years_is_foretold_from_without_a_number_that_is_none() -> None:
    past = histories((8,))
    past.second_E[:] = torch.arange(8) * 400 * 86_400
    x_BTMD, response_BT = inputs()
    assert taste(x_BTMD[:1], response_BT[:1], past.batch(everybody(past), T)).isfinite().all()


def test_who_answers_by_one_modality_is_found_to_go_by_it() -> None:
    past = histories((60,) * 6, videos=12)
    batch, draw = past.batch(everybody(past), 60), torch.Generator().manual_seed(5)
    x_BTMD = torch.nn.functional.normalize(torch.randn(6, 60, M, 6, generator=draw), dim=3) * 6**0.5
    taste_BD = torch.randn(6, 6, generator=draw)
    goes_by_B = torch.arange(6) % M
    heard_BTD = x_BTMD[torch.arange(6), :, goes_by_B]
    response_BT = (heard_BTD * taste_BD[:, None]).sum(2) * 6**-0.5 + 0.3 * torch.randn(6, 60, generator=draw)
    told_BG = log_evidence(x_BTMD, response_BT, batch, mixtures(M))[:, -1]
    share_BM = torch.softmax(told_BG, 1) @ mixtures(M)
    assert torch.equal(share_BM.argmax(1), goes_by_B)


def test_people_read_a_few_at_a_time_are_told_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    past = histories((0, 1, 5, 8))
    batch, (x_BTMD, response_BT) = past.batch(everybody(past), T), inputs()
    whole = log_evidence(x_BTMD, response_BT, batch, mixtures(M))
    monkeypatch.setattr(evidence, "AT_ONCE", 3 * (T * M) ** 2)
    assert torch.allclose(log_evidence(x_BTMD, response_BT, batch, mixtures(M)), whole, atol=1e-5)
    nobody = past.batch(torch.zeros(0, dtype=torch.long), T)
    none = log_evidence(x_BTMD[:0, :0], response_BT[:0, :0], nobody, mixtures(M))
    assert none.shape == (0, 1, len(mixtures(M)))


def test_what_is_expected_without_the_person_may_differ_from_mixture_to_mixture() -> None:
    past = histories((8,))
    batch, (x_BTMD, response_BT), mixture_GM = past.batch(everybody(past), T), inputs(), mixtures(M)
    response_BTG = response_BT[:1, :, None] - torch.linspace(-1, 1, len(mixture_GM))
    told_BSG = evidence.log_evidence(x_BTMD[:1], response_BTG, batch, mixture_GM)
    for g, response_BT1 in enumerate(response_BTG.unbind(2)):
        alone = log_evidence(x_BTMD[:1], response_BT1, batch, mixture_GM)[..., g]
        assert torch.allclose(told_BSG[..., g], alone, atol=1e-5)
