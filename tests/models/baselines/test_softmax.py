"""The softmax: exact where few, and where sampled, its sum stands for all."""

import math

import pytest
import torch

from models.baselines import softmax
from models.baselines.softmax import next_video_loss


def test_few_videos_are_all_counted() -> None:
    h_ND, table_ID, bias_I = torch.randn(5, 4), torch.randn(9, 4), torch.randn(9)
    target_N = torch.tensor([0, 8, 3, 3, 1])
    expected = torch.nn.functional.cross_entropy(h_ND @ table_ID.T + bias_I, target_N)
    assert torch.allclose(next_video_loss(h_ND, table_ID, bias_I, target_N), expected)
    assert next_video_loss(h_ND[:0], table_ID, bias_I, target_N[:0]) == 0


def test_a_sample_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    h_ND, table_ID, bias_I = torch.randn(40, 8), torch.randn(600, 8) * 0.3, torch.randn(600) * 0.3
    target_N = torch.randint(600, (40,))
    full = float(next_video_loss(h_ND, table_ID, bias_I, target_N))
    monkeypatch.setattr(softmax, "CANDIDATES", 200)
    sampled = [float(next_video_loss(h_ND, table_ID, bias_I, target_N)) for _ in range(30)]
    assert sum(sampled) / 30 == pytest.approx(full, abs=0.05)
    assert full - math.log(3) < min(sampled) < max(sampled) < full + math.log(3)
