"""The softmax is exact for few videos. Sampled, its sum is unbiased."""

import math

import pytest
import torch

from models.baselines import next_item_loss as loss_module
from models.baselines.next_item_loss import next_item_loss


def test_small_catalogues_use_the_full_softmax() -> None:
    h_ND, item_ID, bias_I = torch.randn(5, 4), torch.randn(9, 4), torch.randn(9)
    target_N = torch.tensor([0, 8, 3, 3, 1])
    expected = torch.nn.functional.cross_entropy(h_ND @ item_ID.T + bias_I, target_N)
    assert torch.allclose(next_item_loss(h_ND, item_ID, bias_I, target_N), expected)
    assert next_item_loss(h_ND[:0], item_ID, bias_I, target_N[:0]) == 0


def test_the_sampled_loss_estimates_the_full_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    h_ND, item_ID, bias_I = torch.randn(40, 8), torch.randn(600, 8) * 0.3, torch.randn(600) * 0.3
    target_N = torch.randint(600, (40,))
    full = float(next_item_loss(h_ND, item_ID, bias_I, target_N))
    monkeypatch.setattr(loss_module, "NUM_CANDIDATES", 200)
    sampled = [float(next_item_loss(h_ND, item_ID, bias_I, target_N)) for _ in range(30)]
    assert sum(sampled) / 30 == pytest.approx(full, abs=0.05)
    assert full - math.log(3) < min(sampled) < max(sampled) < full + math.log(3)
