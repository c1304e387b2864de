"""Losses equal their definitions."""

import math

import pytest
import torch

from models.losses import softmax
from models.losses.softmax import behaviour_loss, chunked_loss, sampled_softmax_loss, softmax_loss


def test_the_softmax_leaves_out_excluded_candidates() -> None:
    score_NC = torch.tensor([[2.0, 1.0, 0.5, 3.0]])
    excluded_NC = torch.tensor([[True, False, False, True]])
    loss = softmax_loss(score_NC, torch.tensor([0]), excluded_NC)
    rest = math.exp(2.0) + math.exp(1.0) + math.exp(0.5)
    assert float(loss) == pytest.approx(math.log(rest) - 2.0, rel=1e-5)


def test_chunks_give_the_same_loss_and_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    weight, z_ND, target_N = torch.randn(5, 7), torch.randn(9, 5), torch.randint(7, (9,))
    results = []
    for size in (1 << 20, 14):
        monkeypatch.setattr(softmax, "CHUNK_SCORES", size)
        w = weight.clone().requires_grad_()

        def loss(z: torch.Tensor, t: torch.Tensor, w: torch.Tensor = w) -> torch.Tensor:
            return softmax_loss(z @ w, t, torch.zeros(len(z), 7, dtype=torch.bool))

        total = chunked_loss(loss, 7, z_ND, target_N)
        total.backward()
        results.append((total.detach(), w.grad))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-6)
    assert torch.allclose(results[0][1], results[1][1], atol=1e-6)  # type: ignore[arg-type]


def test_unknown_labels_do_not_count() -> None:
    logit = torch.tensor([[0.0, 50.0]])
    label = torch.tensor([[True, False]])
    known = torch.tensor([[True, False]])
    assert float(behaviour_loss(logit, label, known)) == pytest.approx(math.log(2))
    assert float(behaviour_loss(logit, label, torch.zeros(1, 2, dtype=torch.bool))) == 0.0


def test_a_sampled_candidate_is_weighted_by_its_expected_count() -> None:
    """Two candidates are drawn once each. One was expected twice, the other half a time."""
    score_NC, expected_C = torch.tensor([[1.0, -1.0, 3.0]]), torch.tensor([2.0, 0.5, 1.0])
    excluded_NC = torch.tensor([[False, False, True]])
    loss = sampled_softmax_loss(
        torch.tensor([0.5]), score_NC.masked_fill(excluded_NC, -math.inf), expected_C.log()
    )
    rest = math.exp(1.0) / 2 + math.exp(-1.0) / 0.5
    assert float(loss) == pytest.approx(math.log(math.exp(0.5) + rest) - 0.5, rel=1e-5)
