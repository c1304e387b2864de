"""Fused linear cross-entropy equals its definition."""

import pytest
import torch

from models.losses import softmax
from models.losses.fused_linear_cross_entropy import fused_linear_cross_entropy


@pytest.mark.parametrize("scores_at_once", [1, 16, 1 << 20])
def test_loss_and_gradients_equal_the_definition(
    scores_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "CHUNK_SCORES", scores_at_once)
    torch.manual_seed(0)
    inputs, weight_N = (torch.randn(9, 5), torch.randn(7, 5), torch.randn(9)), torch.rand(9)
    excluded_NC = torch.rand(9, 7) < 0.3
    z_NF, w_CF, target_score_N = (x.clone().requires_grad_() for x in inputs)

    def mask_scores(score_nC: torch.Tensor, chunk: slice) -> None:
        score_nC.masked_fill_(excluded_NC[chunk], -torch.inf)

    loss = fused_linear_cross_entropy(z_NF, w_CF, target_score_N, weight_N, mask_scores)
    (3 * loss).backward()
    z, w, target_score = (x.clone().requires_grad_() for x in inputs)
    score_N1C = torch.cat([target_score[:, None], (z @ w.T).masked_fill(excluded_NC, -torch.inf)], 1)
    expected = -(weight_N * torch.log_softmax(score_N1C, 1)[:, 0]).sum()
    (3 * expected).backward()
    assert torch.allclose(loss, expected, atol=1e-5)
    for leaf, reference in ((z_NF, z), (w_CF, w), (target_score_N, target_score)):
        assert torch.allclose(leaf.grad, reference.grad, atol=1e-5)  # type: ignore[arg-type]


def test_bf16_approximates_loss_and_gradient() -> None:
    torch.manual_seed(0)
    z_NF, w_CF, target_score_N = torch.randn(50, 8).requires_grad_(), torch.randn(300, 8), torch.randn(50)
    exact = fused_linear_cross_entropy(z_NF, w_CF, target_score_N, torch.ones(50), lambda score, chunk: None)
    (right_NE,) = torch.autograd.grad(exact, z_NF)
    with torch.autocast("cpu", torch.bfloat16):
        near = fused_linear_cross_entropy(
            z_NF, w_CF, target_score_N, torch.ones(50), lambda score, chunk: None
        )
    (near_NE,) = torch.autograd.grad(near, z_NF)
    assert near.item() == pytest.approx(exact.item(), rel=0.01)
    assert near.item() != exact.item()
    assert torch.cosine_similarity(right_NE, near_NE).min() > 0.99


def test_bf16_does_not_round_the_weights() -> None:
    torch.manual_seed(0)
    z_NF, w_CF = torch.randn(2000, 9), torch.randn(300, 9)
    target_score_N, gradients = torch.randn(2000), []
    for low in (False, True):
        z, w = z_NF.clone().requires_grad_(), w_CF.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = fused_linear_cross_entropy(
                z, w, target_score_N, torch.full((2000,), 0.7983), lambda *_: None
            )
        loss.backward()
        gradients.append((z.grad, w.grad))
    for right, near in zip(*gradients, strict=True):
        assert near.dtype == torch.float32
        assert float((right * near).sum() / (right * right).sum()) == pytest.approx(1.0, abs=1e-3)
