"""The softmax is exact with all videos. Sampled, its sum is unbiased."""

import math

import pytest
import torch
from torch import Tensor

from models.baselines.next_item_loss import next_item_loss
from models.losses import softmax
from tests.support.planted_preferences import small_config

SHARING = [True, False]


def make_inputs(num_targets: int = 40) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States, 600 videos with biases, and targets."""
    torch.manual_seed(0)
    item_ID, bias_I = torch.randn(600, 8) * 0.3, torch.randn(600) * 0.3
    return torch.randn(num_targets, 8), item_ID, bias_I, torch.randint(600, (num_targets,))


def compute_loss(num_negatives: int, share: bool, inputs: tuple[Tensor, ...] | None = None) -> float:
    config = small_config("sasrec", num_negatives=num_negatives, share_negatives=share)
    return float(next_item_loss(*(inputs or make_inputs()), config))  # type: ignore[call-arg]


@pytest.mark.parametrize("share", SHARING)
@pytest.mark.parametrize("num_negatives", [0, 600, 2048])
def test_the_softmax_is_full_without_a_sample(num_negatives: int, share: bool) -> None:
    h_ND, item_ID, bias_I, target_N = make_inputs()
    expected = torch.nn.functional.cross_entropy(h_ND @ item_ID.T + bias_I, target_N)
    assert compute_loss(num_negatives, share) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("share", SHARING)
@pytest.mark.parametrize("num_negatives", [0, 5])
def test_no_target_gives_no_loss(num_negatives: int, share: bool) -> None:
    assert compute_loss(num_negatives, share, make_inputs(0)) == 0


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
    """A step with own negatives sees forty samples instead of one."""
    own, shared = (torch.tensor(sampled_losses(20, share, 60)).std() for share in (False, True))
    assert own < 0.6 * shared


def test_own_negatives_give_the_same_loss_and_gradient_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    def compute() -> tuple[Tensor, ...]:
        h_ND, item_ID, bias_I, target_N = make_inputs()
        weights = [tensor.requires_grad_() for tensor in (h_ND, item_ID, bias_I)]
        config = small_config("sasrec", num_negatives=20, share_negatives=False)
        loss = next_item_loss(h_ND, item_ID, bias_I, target_N, config)
        return loss, *torch.autograd.grad(loss, weights)

    whole = compute()
    monkeypatch.setattr(softmax, "CHUNK_SCORES", 7 * 20 * 8)  # seven targets at a time
    for expected, value in zip(whole, compute(), strict=True):
        assert torch.allclose(value, expected, atol=1e-6)


@pytest.mark.parametrize("share", SHARING)
def test_the_target_is_not_its_own_negative(share: bool) -> None:
    """With a target that is far above all others, the loss is 0, however often it is drawn."""
    item_ID, target_N = torch.tensor([[50.0], [0.0], [0.0]]), torch.zeros(6, dtype=torch.long)
    inputs = (torch.ones(6, 1), item_ID, torch.zeros(3), target_N)
    assert max(compute_loss(2, share, inputs) for _ in range(20)) < 1e-6
