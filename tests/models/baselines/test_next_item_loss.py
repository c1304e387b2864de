"""The softmax is exact with all videos. Sampled, its sum is unbiased."""

import math

import pytest
import torch
from torch import Tensor

from models.baselines.next_item_loss import next_item_loss
from tests.support.planted_preferences import small_config

SHARING = [True, False]


def make_inputs() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Ten sequences of four states, of which some have no target, and 600 videos."""
    torch.manual_seed(0)
    mask_BT = torch.arange(4) < torch.tensor([[4], [1], [0], [3], [2], [4], [4], [2], [4], [1]])
    item_ID, bias_I = torch.randn(600, 8) * 0.3, torch.randn(600) * 0.3
    return torch.randn(10, 4, 8), torch.randint(600, (10, 4)), mask_BT, item_ID, bias_I


def compute_loss(num_negatives: int, share: bool, inputs: tuple[Tensor, ...] | None = None) -> float:
    config = small_config("sasrec", num_negatives=num_negatives, share_negatives=share)
    return float(next_item_loss(*(inputs or make_inputs()), config))  # type: ignore[call-arg]


@pytest.mark.parametrize("share", SHARING)
@pytest.mark.parametrize("num_negatives", [0, 600, 2048])
def test_the_softmax_is_full_without_a_sample(num_negatives: int, share: bool) -> None:
    h_BTD, target_BT, mask_BT, item_ID, bias_I = make_inputs()
    logit_BTI = h_BTD @ item_ID.T + bias_I
    expected = torch.nn.functional.cross_entropy(logit_BTI[mask_BT], target_BT[mask_BT])
    assert compute_loss(num_negatives, share) == pytest.approx(float(expected), rel=1e-5)
    no_target = (h_BTD, target_BT, torch.zeros_like(mask_BT), item_ID, bias_I)
    assert compute_loss(num_negatives, share, no_target) == 0


def sampled_losses(num_negatives: int, share: bool, draws: int = 30) -> list[float]:
    inputs = make_inputs()
    return [compute_loss(num_negatives, share, inputs) for _ in range(draws)]


@pytest.mark.parametrize("share", SHARING)
def test_the_sampled_loss_estimates_the_full_loss(share: bool) -> None:
    full, sampled = compute_loss(0, share), sampled_losses(200, share)
    assert sum(sampled) / 30 == pytest.approx(full, abs=0.05)
    assert full - math.log(3) < min(sampled) < max(sampled) < full + math.log(3)


@pytest.mark.parametrize("share", SHARING)
def test_more_negatives_come_closer_to_the_full_loss(share: bool) -> None:
    full = compute_loss(0, share)

    def error(num_negatives: int) -> float:
        return sum(abs(value - full) for value in sampled_losses(num_negatives, share)) / 30

    assert error(6) > 2 * error(60) > 4 * error(599) > 0


def test_own_negatives_vary_less_than_shared_ones() -> None:
    """A step with own negatives sees ten samples instead of one."""
    own, shared = (torch.tensor(sampled_losses(20, share, 60)).std() for share in (False, True))
    assert own < 0.6 * shared


@pytest.mark.parametrize("share", SHARING)
def test_the_target_is_not_its_own_negative(share: bool) -> None:
    """With a target that is far above all others, the loss is 0, however often it is drawn."""
    item_ID, target_BT = torch.tensor([[50.0], [0.0], [0.0]]), torch.zeros(2, 3, dtype=torch.long)
    inputs = (torch.ones(2, 3, 1), target_BT, torch.ones(2, 3, dtype=torch.bool), item_ID, torch.zeros(3))
    assert max(compute_loss(2, share, inputs) for _ in range(20)) < 1e-6
