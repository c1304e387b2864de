"""The fast softmax against its definition."""

import pytest
import torch

from models import losses
from models.softmax import product_softmax_loss


@pytest.mark.parametrize("scores_at_once", [1, 16, 1 << 20])
def test_loss_and_gradients_are_those_of_the_definition_whatever_the_chunks(
    scores_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "CHUNK_SCORES", scores_at_once)
    torch.manual_seed(0)
    inputs, weight_N = (torch.randn(9, 5), torch.randn(7, 5), torch.randn(9)), torch.rand(9)
    banned_NC = torch.rand(9, 7) < 0.3
    z_NE, w_CE, own_N = (x.clone().requires_grad_() for x in inputs)

    def ban(score_nC: torch.Tensor, chunk: slice) -> None:
        score_nC.masked_fill_(banned_NC[chunk], -torch.inf)

    loss = product_softmax_loss(z_NE, w_CE, own_N, weight_N, ban)
    (3 * loss).backward()
    z, w, own = (x.clone().requires_grad_() for x in inputs)
    score_N1C = torch.cat([own[:, None], (z @ w.T).masked_fill(banned_NC, -torch.inf)], 1)
    expected = -(weight_N * torch.log_softmax(score_N1C, 1)[:, 0]).sum()
    (3 * expected).backward()
    assert torch.allclose(loss, expected, atol=1e-5)
    for mine, theirs in ((z_NE, z), (w_CE, w), (own_N, own)):
        assert torch.allclose(mine.grad, theirs.grad, atol=1e-5)  # type: ignore[arg-type]


def test_in_bf16_loss_and_gradient_are_near() -> None:
    torch.manual_seed(0)
    z_NE, w_CE, own_N = torch.randn(50, 8).requires_grad_(), torch.randn(300, 8), torch.randn(50)
    exact = product_softmax_loss(z_NE, w_CE, own_N, torch.ones(50), lambda score, chunk: None)
    (right_NE,) = torch.autograd.grad(exact, z_NE)
    with torch.autocast("cpu", torch.bfloat16):
        near = product_softmax_loss(z_NE, w_CE, own_N, torch.ones(50), lambda score, chunk: None)
    (near_NE,) = torch.autograd.grad(near, z_NE)
    assert near.item() == pytest.approx(exact.item(), rel=0.01)
    assert near.item() != exact.item()
    assert torch.cosine_similarity(right_NE, near_NE).min() > 0.99


def test_in_bf16_weights_are_not_rounded() -> None:
    torch.manual_seed(0)
    z_NE, w_CE = torch.randn(2000, 9), torch.randn(300, 9)
    own_N, gradients = torch.randn(2000), []
    for low in (False, True):
        z, w = z_NE.clone().requires_grad_(), w_CE.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = product_softmax_loss(z, w, own_N, torch.full((2000,), 0.7983), lambda *_: None)
        loss.backward()
        gradients.append((z.grad, w.grad))
    for right, near in zip(*gradients, strict=True):
        assert near.dtype == torch.float32
        assert float((right * near).sum() / (right * right).sum()) == pytest.approx(1.0, abs=1e-3)
