"""Losses against their definitions."""

import math

import pytest
import torch

from models import losses
from models.losses import alignment_loss, behaviour_loss, in_chunks, info_nce, softmax_loss


def test_the_softmax_leaves_out_the_persons_own_other_videos() -> None:
    score_NC = torch.tensor([[2.0, 1.0, 0.5, 3.0]])
    own_NC = torch.tensor([[True, False, False, True]])
    loss = softmax_loss(score_NC, torch.tensor([0]), own_NC)
    rest = math.exp(2.0) + math.exp(1.0) + math.exp(0.5)
    assert float(loss) == pytest.approx(math.log(rest) - 2.0, rel=1e-5)


def test_chunks_give_the_same_loss_and_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    weight, z_ND, target_N = torch.randn(5, 7), torch.randn(9, 5), torch.randint(7, (9,))
    found = []
    for size in (1 << 20, 14):
        monkeypatch.setattr(losses, "CHUNK_SCORES", size)
        w = weight.clone().requires_grad_()

        def loss(z: torch.Tensor, t: torch.Tensor, w: torch.Tensor = w) -> torch.Tensor:
            return softmax_loss(z @ w, t, torch.zeros(len(z), 7, dtype=torch.bool))

        total = in_chunks(loss, 7, z_ND, target_N)
        total.backward()
        found.append((total.detach(), w.grad))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)  # type: ignore[arg-type]


def test_info_nce_is_log_n_for_noise_of_one_direction_and_near_zero_for_perfect_pairs() -> None:
    same_ND = torch.ones(6, 3)
    assert float(info_nce(same_ND, same_ND, 0.1)) == pytest.approx(math.log(6), rel=1e-5)
    assert float(info_nce(torch.eye(6), torch.eye(6), 0.05)) < 1e-6


def test_info_nce_does_not_care_for_length_or_order_or_which_side_is_which() -> None:
    torch.manual_seed(0)
    a_ND, b_ND = torch.randn(8, 4), torch.randn(8, 4)
    value, order = info_nce(a_ND, b_ND, 0.2), torch.randperm(8)
    assert torch.allclose(value, info_nce(7 * a_ND, b_ND / 3, 0.2), atol=1e-6)
    assert torch.allclose(value, info_nce(a_ND[order], b_ND[order], 0.2), atol=1e-6)
    assert torch.allclose(value, info_nce(b_ND, a_ND, 0.2), atol=1e-6)


def test_alignment_uses_only_videos_that_have_both_modalities() -> None:
    torch.manual_seed(0)
    x_VMD = torch.randn(6, 3, 4)
    has_VM = torch.tensor([[1, 1, 0]] * 4 + [[1, 0, 0], [0, 1, 0]], dtype=torch.bool)
    expected = info_nce(x_VMD[:4, 0], x_VMD[:4, 1], 0.1)
    assert torch.allclose(alignment_loss(x_VMD, has_VM, 0.1), expected)
    assert float(alignment_loss(x_VMD[:, :1], has_VM[:, :1], 0.1)) == 0.0


def test_unknown_outcomes_do_not_count() -> None:
    logit = torch.tensor([[0.0, 50.0]])
    label = torch.tensor([[True, False]])
    known = torch.tensor([[True, False]])
    assert float(behaviour_loss(logit, label, known)) == pytest.approx(math.log(2))
    assert float(behaviour_loss(logit, label, torch.zeros(1, 2, dtype=torch.bool))) == 0.0
