"""DP-SGD bounds what one user contributes to a step, adds seeded noise, and accounts for it."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from models.baselines.sasrec import SASRec
from models.training.baselines import BaselineTask, BaselineTrainingConfig, fit_baseline
from models.training.private import PrivateTrainer, poisson_batches, privacy_spent
from models.training.trainer import SeedSteps, Trainer
from tests.support.planted_preferences import make_item_table, planted_sequences, small_config

ROWS = torch.arange(40)
CONFIG = BaselineTrainingConfig(1, 1, 16, 0.003, 0.0, 1.0, 1)
NO_CLIPPING = 1e9
USERS_8 = torch.arange(8)


@dataclass(frozen=True)
class Privacy:
    noise_multiplier: float
    delta: float = 1e-5


def make_task() -> BaselineTask:
    torch.manual_seed(0)
    model = SASRec(small_config("sasrec", layers=1))
    return BaselineTask(model, planted_sequences()[0], ROWS, CONFIG, dict, "")


def private_gradient(users: Tensor, clip_norm: float, noise: float = 0.0, seed: int = 0) -> Tensor:
    """Return the gradient of one private step on these users, of which one is expected, as one vector."""
    task = make_task()
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.1)
    trainer = PrivateTrainer(
        task, optimizer, noise_multiplier=noise, expected_users=1.0, clip_norm=clip_norm, epochs=1
    )
    torch.manual_seed(seed)
    trainer._take_step(users, "step 1")
    return torch.cat([p.grad.flatten() for p in task.model.parameters() if p.grad is not None])


def test_without_noise_and_clipping_the_private_step_is_the_plain_step() -> None:
    """All planted users have equally many positives, so the mean over users is the mean over positives."""
    weights = []
    for is_private in (False, True):
        task = make_task()
        optimizer = torch.optim.SGD(task.model.parameters(), lr=0.5)
        options: dict[str, Any] = {"epochs": 1, "clip_norm": NO_CLIPPING}
        trainer = (
            PrivateTrainer(task, optimizer, noise_multiplier=0.0, expected_users=8.0, **options)
            if is_private
            else Trainer(task, optimizer, **options)
        )
        losses, norm = trainer._take_step(USERS_8, "step 1")
        weights.append(torch.cat([p.detach().flatten() for p in task.model.parameters()]))
        assert float(losses["total"].detach()) > 0
        assert norm > 0
    plain, private = weights
    untrained = torch.cat([p.detach().flatten() for p in make_task().model.parameters()])
    assert torch.allclose(plain, private, atol=1e-6)
    assert (plain - untrained).abs().max() > 1e-3


def test_a_user_contributes_at_most_the_bound() -> None:
    for user in USERS_8.split(1):
        assert float(private_gradient(user, 0.01).norm()) == pytest.approx(0.01, rel=1e-4)
    assert float(private_gradient(USERS_8, 0.01).norm()) <= 8 * 0.01 * 1.0001


def test_the_contribution_of_a_user_does_not_depend_on_the_others() -> None:
    alone = [private_gradient(users, 0.3) for users in (USERS_8[:5], USERS_8[5:])]
    assert torch.allclose(private_gradient(USERS_8, 0.3), alone[0] + alone[1], atol=1e-6)


def test_the_noise_has_the_declared_deviation_and_depends_on_the_seed_only() -> None:
    no_user = USERS_8[:0]
    noise = private_gradient(no_user, 0.5, noise=2.0)
    assert float(noise.std()) == pytest.approx(1.0, rel=0.03)
    assert torch.equal(noise, private_gradient(no_user, 0.5, noise=2.0))
    assert not torch.equal(noise, private_gradient(no_user, 0.5, noise=2.0, seed=1))


def test_a_step_without_users_has_losses_that_are_finite() -> None:
    task = make_task()
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.1)
    trainer = PrivateTrainer(
        task, optimizer, noise_multiplier=1.0, expected_users=1.0, clip_norm=1.0, epochs=1
    )
    losses, _ = trainer._take_step(USERS_8[:0], "step 1")
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_a_gradient_that_is_not_finite_stops_training() -> None:
    task = make_task()
    task.model.bias.data[0] = torch.nan
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.1)
    trainer = PrivateTrainer(
        task, optimizer, noise_multiplier=1.0, expected_users=1.0, clip_norm=1.0, epochs=1
    )
    with pytest.raises(FloatingPointError, match=r"a user is not finite at step 7; lower train\."):
        trainer._take_step(USERS_8, "step 7")


def test_batches_are_poisson_samples() -> None:
    users = torch.arange(100, 1100)
    epochs = [poisson_batches(users, 50, 1, epoch) for epoch in range(50)]
    assert [len(batches) for batches in epochs] == [20] * 50
    sizes = torch.tensor([float(len(batch)) for batches in epochs for batch in batches])
    # The size is binomial: mean 50, variance 47.5. Fixed batches would have variance 0.
    assert float(sizes.mean()) == pytest.approx(50, abs=1)
    assert float(sizes.var()) == pytest.approx(47.5, rel=0.15)
    times_B = torch.bincount(torch.cat(epochs[0]) - 100, minlength=1000)
    assert 0 in times_B  # a user can miss an epoch
    assert int(times_B.max()) > 1
    assert all(map(torch.equal, epochs[3], poisson_batches(users, 50, 1, 3)))
    assert not torch.equal(epochs[0][0], poisson_batches(users, 50, 2, 0)[0])


def test_the_accountant_agrees_with_a_published_figure() -> None:
    """Abadi et al. report (1.26, 1e-5) for q = 0.01, σ = 4 and 10,000 steps. Newer bounds are a bit lower."""
    record = privacy_spent(Privacy(4.0), 1.0, num_users=10_000, batch_size=100, epochs=100)
    assert (record["sampling_rate"], record["steps"], record["unit"]) == (0.01, 10_000, "user")
    assert 0.9 < record["epsilon"] <= 1.26


def test_epsilon_falls_with_noise_and_rises_with_epochs() -> None:
    def epsilon(noise: float, epochs: int) -> float:
        return privacy_spent(Privacy(noise), 1.0, 1000, 100, epochs)["epsilon"]

    assert epsilon(2.0, 5) < epsilon(1.0, 5) < epsilon(1.0, 10) < epsilon(0.5, 10)
    # Without sampling the divergence of order a is T a / (2 σ²), so ε is at least its value at order 1.
    whole = privacy_spent(Privacy(5.0), 1.0, 100, 100, 10)
    assert (whole["sampling_rate"], whole["steps"]) == (1.0, 10)
    assert 10 / (2 * 25) < whole["epsilon"] < 10 / (2 * 25) + (2 * 10 / 25 * 11.6) ** 0.5


def test_private_training_repeats_to_the_digit_and_learns() -> None:
    config = replace(CONFIG, epochs=2, batch_size=64, privacy=Privacy(0.05))
    states, curves = [], []
    for _ in range(2):
        task = make_task()
        curves.append(fit_baseline(task.baseline, task.sequences, make_item_table(), config, dict, "ndcg@10"))
        states.append(task.model.state_dict())
    assert all(torch.equal(x, states[1][name]) for name, x in states[0].items())
    assert curves[0][1]["total"] < curves[0][0]["total"]
    assert int(states[0]["num_positives_I"].sum()) == 0  # a count without noise would give users away


def test_seeded_steps_draw_the_same_noise_after_a_resume() -> None:
    weights = []
    for first_step in (0, 1):
        task = make_task()
        optimizer = torch.optim.SGD(task.model.parameters(), lr=0.0)
        trainer = PrivateTrainer(
            task,
            optimizer,
            noise_multiplier=1.0,
            expected_users=1.0,
            clip_norm=1.0,
            epochs=1,
            callbacks=[SeedSteps(1)],
        )
        for step in range(first_step, 2):
            trainer._run_step(USERS_8[:0], step, 2)
        weights.append(next(p.grad for p in task.model.parameters()))
    assert torch.equal(weights[0], weights[1])
