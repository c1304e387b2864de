"""DP-SGD (Abadi et al. 2016, arXiv 1607.00133) with the user as the unit of privacy (McMahan et al. 2018,
arXiv 1710.06963).

One user's sequence is one example. A step computes and clips the gradient of each sampled user on its own,
adds them, and adds Gaussian noise. So the weights of two trainings that differ by one user are nearly equally
likely: an event is at most e^ε times as likely with the user as without, apart from a probability δ.

Two ways to get gradients of single users do not fit our models. Opacus refuses `nn.MultiheadAttention`, and
its hooks do not see that one table embeds and scores the videos. `torch.func.vmap` refuses the boolean
selection of targets. So each user has a backward pass of its own. The accountant is that of Opacus.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from models.training.trainer import Trainer, TrainingTask

# Orders of the Rényi divergence that the accountant tries. High ones are best for a small ε.
ORDERS = [*(1 + x / 10 for x in range(1, 100)), *range(12, 64), *range(64, 1025, 32)]


class PrivacySettings(Protocol):
    """The settings of private training, as in section `train.privacy` of params.yaml.

    Attributes:
        noise_multiplier: Standard deviation of the noise, in units of the bound of a user's gradient.
        delta: δ.
    """

    @property
    def noise_multiplier(self) -> float: ...
    @property
    def delta(self) -> float: ...


class PrivateTrainer(Trainer):
    """Trains by DP-SGD. A batch holds users, sampled independently of each other (`poisson_batches`).

    Losses and gradient norm of a step are means over its users. They are not private.

    Args:
        task: Its loss of one user must depend on no other user.
        optimizer: Of the parameters of the model.
        noise_multiplier: Standard deviation of the noise in units of `clip_norm`.
        expected_users: Mean number of users in a batch. The number itself would depend on the users.
        clip_norm: Bound of the gradient norm of a user.
        options: Of `Trainer`.
    """

    def __init__(
        self,
        task: TrainingTask,
        optimizer: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        expected_users: float,
        clip_norm: float,
        **options: Any,
    ) -> None:
        super().__init__(task, optimizer, clip_norm=clip_norm, **options)
        self.noise_multiplier, self.expected_users = noise_multiplier, expected_users

    def _take_step(self, batch: Tensor, where: str) -> tuple[Mapping[str, Tensor], float]:
        """Change the weights by the noisy mean of the clipped gradients of the users."""
        params = [p for p in self.task.model.parameters() if p.requires_grad]
        sums = [torch.zeros_like(p) for p in params]
        losses: dict[str, Tensor] = {"total": torch.zeros(())}
        norm_sum = 0.0
        for user_1 in batch.split(1) if len(batch) else ():
            user_losses = self.task.losses(user_1)
            norm_sum += self._add_clipped_gradient(user_losses["total"], params, sums, where)
            for name, loss in user_losses.items():
                losses[name] = losses.get(name, 0.0) + loss.detach() / len(batch)
        # The noise is drawn for every parameter, whoever was sampled.
        for p, gradient in zip(params, sums, strict=True):
            if self.noise_multiplier:
                gradient += self.noise_multiplier * self.clip_norm * torch.randn_like(p)
            p.grad = gradient / self.expected_users
        self.optimizer.step()
        return losses, norm_sum / max(len(batch), 1)

    def _add_clipped_gradient(
        self, loss: Tensor, params: Sequence[torch.nn.Parameter], sums: Sequence[Tensor], where: str
    ) -> float:
        """Add the gradient of a user to `sums`, scaled to a norm of at most `clip_norm`.

        Returns:
            The norm before.

        Raises:
            FloatingPointError: The loss or a gradient is not finite.
        """
        gradients = torch.autograd.grad(loss, params, allow_unused=True)
        pairs = [(total, g) for total, g in zip(sums, gradients, strict=True) if g is not None]
        norm = float(torch.nn.utils.get_total_norm([g for _, g in pairs]))
        if not torch.isfinite(loss) or norm != norm or norm == float("inf"):
            raise FloatingPointError(
                f"the loss or a gradient of a user is not finite at {where}; lower"
                f" {self.task.learning_rate_name}"
            )
        scale = min(1.0, self.clip_norm / norm) if norm else 1.0
        torch._foreach_add_([total for total, _ in pairs], [g for _, g in pairs], alpha=scale)
        return norm


def poisson_batches(users: Tensor, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """Return the batches of an epoch. Each user is in each of them with the same probability, independently.

    The theorem of the accountant needs this sampling. A batch may be empty. The batches depend on seed and
    epoch only.

    Args:
        users: Rows of the users.
        batch_size: Mean number of users in a batch.
        seed: Of the training.
        epoch: Counted from 0.
    """
    generator = torch.Generator("cpu").manual_seed(seed * 1_000_003 + epoch)
    rate, steps = sampling_rate(len(users), batch_size), steps_per_epoch(len(users), batch_size)
    draws = (torch.rand(len(users), generator=generator, device="cpu") for _ in range(steps))
    return [users[draw < rate] for draw in draws]


def sampling_rate(num_users: int, batch_size: int) -> float:
    """Return the probability that a user is in a batch."""
    return min(1.0, batch_size / max(num_users, 1))


def steps_per_epoch(num_users: int, batch_size: int) -> int:
    """Return the number of batches in which a user is once on average."""
    return -(-num_users // batch_size)


def privacy_spent(
    privacy: PrivacySettings, clip_norm: float, num_users: int, batch_size: int, epochs: int
) -> dict[str, Any]:
    """Return the record of a private training.

    ε is an upper bound from Rényi differential privacy of the sampled Gaussian mechanism (Mironov et al.
    2019, arXiv 1908.10530). Two trainings that differ by one added or removed user are compared. It follows
    from the settings alone, so it is known before the first step. The number of users counts as public.

    Args:
        privacy: Settings of the noise.
        clip_norm: Bound of the gradient norm of a user.
        num_users: Users that training samples from.
        batch_size: Mean number of users in a batch.
        epochs: Epochs that are trained.

    Returns:
        `epsilon`, `delta`, `unit`, `noise_multiplier`, `clip_norm`, `sampling_rate` and `steps`.
    """
    from opacus.accountants.analysis import rdp  # its import takes seconds, and few runs are private

    rate, steps = sampling_rate(num_users, batch_size), epochs * steps_per_epoch(num_users, batch_size)
    divergence = rdp.compute_rdp(
        q=rate, noise_multiplier=privacy.noise_multiplier, steps=steps, orders=ORDERS
    )
    with warnings.catch_warnings(action="ignore"):  # the bound holds for any orders
        epsilon, _ = rdp.get_privacy_spent(orders=ORDERS, rdp=divergence, delta=privacy.delta)
    return {
        "epsilon": math.ceil(1e4 * float(epsilon)) / 1e4,  # an upper bound is rounded up
        "delta": privacy.delta,
        "unit": "user",
        "noise_multiplier": privacy.noise_multiplier,
        "clip_norm": clip_norm,
        "sampling_rate": rate,
        "steps": steps,
    }
