"""The training loop of every model: epochs until validation stops improving, then the best weights.

A `TrainingTask` defines model, batches, losses and validation. A `Callback` adds what only some tasks need,
such as a seed for each step, a learning-rate schedule or checkpoints.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from models import distributed
from models.training.batching import step_seed


@dataclass
class Progress:
    """The progress of a run. A checkpoint holds all of it.

    Attributes:
        best_weights: State dict of the best epoch so far.
        epoch: Number of finished epochs.
        step: Number of finished steps of the current epoch.
        loss_sums: Sum of each loss over the finished steps, divided by the number of steps of the epoch. At
            the end of the epoch it is the mean.
        curve: One row for each finished epoch.
        best_value: The highest selection value so far.
        epochs_without_improvement: Finished epochs after the best one.
    """

    best_weights: dict[str, Tensor]
    epoch: int = 0
    step: int = 0
    loss_sums: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    best_value: float = -math.inf
    epochs_without_improvement: int = 0


class TrainingTask:
    """A model with its batches, losses and validation.

    A subclass sets the attributes and defines `epoch_batches` and `losses`.

    Attributes:
        name: Name in the progress bar.
        model: The model whose parameters are trained.
        selection_metric: The metric of `validate` whose highest value selects the best epoch.
        learning_rate_name: The parameter or option that sets the learning rate. The error of a loss that is
            not finite names it.
    """

    name: str
    model: nn.Module
    selection_metric: str = ""
    learning_rate_name: str = "train.learning_rate"

    def set_train_mode(self) -> None:
        """Set the model to training mode before an epoch. Validation may have left it in evaluation mode."""
        self.model.train()

    def epoch_batches(self, epoch: int) -> Sequence[Any]:
        """Return the batches of an epoch in order. They depend on the epoch and on fixed inputs only."""
        raise NotImplementedError

    def losses(self, batch: Any) -> Mapping[str, Tensor]:
        """Return the losses of a batch by name. The step minimises `total`."""
        raise NotImplementedError

    def validate(self) -> dict[str, float]:
        """Return the metrics of the epoch for the curve. Empty if there is no validation data."""
        return {}

    def selection_value(self, row: Mapping[str, float]) -> float:
        """Return the value of an epoch. The epoch with the highest value is kept.

        Without a validation metric it is the number of the epoch, so the last epoch is kept.

        Args:
            row: The row of the epoch in the curve.
        """
        return row.get(self.selection_metric, row["epoch"])

    def describe_batch(self, batch: Any) -> str:
        """Return a description of the batch for the error of a loss that is not finite."""
        return ""


class Callback:
    """Is called at fixed points of training. A subclass overrides the methods that it needs."""

    def on_train_start(self, trainer: "Trainer") -> None:
        """Run before the first step."""

    def on_step_start(self, trainer: "Trainer", step: int, num_steps: int) -> None:
        """Run before a step. `step` counts from 0 in each epoch of `num_steps` steps."""

    def on_step_end(self, trainer: "Trainer") -> None:
        """Run after the optimizer step."""


class SeedSteps(Callback):
    """Seeds torch before each step, so that a resumed run draws the same numbers."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_step_start(self, trainer: "Trainer", step: int, num_steps: int) -> None:
        torch.manual_seed(step_seed(self.seed, trainer.progress.epoch, step))


class LearningRateSchedule(Callback):
    """Raises the learning rate linearly during warm-up, then lowers it to 5 % by half a cosine.

    Args:
        learning_rate: The highest learning rate.
        warmup_epochs: Epochs in which the learning rate rises.
        epochs: Epochs after which the learning rate is lowest.
    """

    def __init__(self, learning_rate: float, warmup_epochs: int, epochs: int) -> None:
        self.learning_rate, self.warmup_epochs, self.epochs = learning_rate, warmup_epochs, epochs

    def on_step_start(self, trainer: "Trainer", step: int, num_steps: int) -> None:
        epochs_done = trainer.progress.epoch + (step + 1) / num_steps
        factor = learning_rate_factor(epochs_done, self.warmup_epochs, self.epochs)
        for group in trainer.optimizer.param_groups:
            group["lr"] = self.learning_rate * factor


def learning_rate_factor(epochs_done: float, warmup: int, epochs: int) -> float:
    """Return the factor of the highest learning rate after `epochs_done` epochs."""
    if epochs_done < warmup:
        return epochs_done / warmup
    decayed = (epochs_done - warmup) / max(epochs - warmup, 1)
    return 0.05 + 0.95 * (1 + math.cos(math.pi * min(decayed, 1.0))) / 2


class Trainer:
    """Trains the model of a task.

    Args:
        task: Model, batches, losses and validation.
        optimizer: Of the parameters of the model.
        epochs: Most epochs to train.
        patience: Epochs without improvement before training stops. None trains all epochs.
        clip_norm: Bound of the gradient norm. None for no bound.
        callbacks: Called in this order.
    """

    def __init__(
        self,
        task: TrainingTask,
        optimizer: torch.optim.Optimizer,
        *,
        epochs: int,
        patience: int | None = None,
        clip_norm: float | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.task, self.optimizer, self.callbacks = task, optimizer, callbacks
        self.epochs = epochs
        self.patience = epochs if patience is None else patience
        self.clip_norm = float("inf") if clip_norm is None else clip_norm
        self.progress = Progress(copy.deepcopy(task.model.state_dict()))

    def fit(self) -> list[dict[str, float]]:
        """Train the model and keep the weights of its best epoch.

        Returns:
            The curve, one row for each epoch. A row holds the mean of each loss, the mean gradient norm
            before clipping, the last learning rate and the validation metrics.

        Raises:
            FloatingPointError: A loss or gradient is not finite, or a score or the selection metric is NaN.
                The message names the epoch, and the step and batch of a loss.
        """
        for callback in self.callbacks:
            callback.on_train_start(self)
        silent = distributed.get_rank() > 0
        with tqdm(
            total=self.epochs, initial=self.progress.epoch, desc=self.task.name, unit="epoch", disable=silent
        ) as bar:
            while (
                self.progress.epoch < self.epochs and self.progress.epochs_without_improvement < self.patience
            ):
                self._train_epoch()
                row = self._close_epoch()
                bar.update()
                shown_names = ("total", self.task.selection_metric)
                bar.set_postfix({name: f"{row[name]:.4f}" for name in shown_names if name in row})
        self.task.model.load_state_dict(self.progress.best_weights)
        return self.progress.curve

    def _train_epoch(self) -> None:
        """Run the remaining steps of the current epoch."""
        progress, batches = self.progress, self.task.epoch_batches(self.progress.epoch)
        self.task.set_train_mode()
        for step in range(progress.step, len(batches)):
            self._run_step(batches[step], step, len(batches))

    def _run_step(self, batch: Any, step: int, num_steps: int) -> None:
        """Take step `step` of `num_steps` in the current epoch, and record it."""
        progress = self.progress
        for callback in self.callbacks:
            callback.on_step_start(self, step, num_steps)
        where = f"epoch {progress.epoch + 1}, step {step + 1} of {num_steps}"
        losses, norm = self._take_step(batch, where + self.task.describe_batch(batch))
        for name, loss in losses.items():
            self._add_to_sum(name, float(distributed.all_reduce(loss.detach())) / num_steps)
        self._add_to_sum("gradient_norm", norm / num_steps)
        progress.loss_sums["learning_rate"] = self.optimizer.param_groups[0]["lr"]
        progress.step = step + 1
        for callback in self.callbacks:
            callback.on_step_end(self)

    def _take_step(self, batch: Any, where: str) -> tuple[Mapping[str, Tensor], float]:
        """Change the weights by the gradient of a batch.

        Returns:
            The losses of the batch, and the gradient norm before clipping.
        """
        losses = self.task.losses(batch)
        return losses, optimizer_step(self.task, self.optimizer, losses["total"], self.clip_norm, where)

    def _add_to_sum(self, name: str, value: float) -> None:
        self.progress.loss_sums[name] = self.progress.loss_sums.get(name, 0.0) + value

    def _close_epoch(self) -> dict[str, float]:
        """Validate, and return the row of the epoch in the curve.

        Raises:
            FloatingPointError: The selection metric is NaN: the last step made weights without finite scores.
        """
        progress = self.progress
        progress.epoch += 1
        row = {"epoch": float(progress.epoch), **progress.loss_sums, **self._validate()}
        progress.curve.append(row)
        progress.step, progress.loss_sums = 0, {}
        progress.epochs_without_improvement += 1
        if math.isnan(value := self.task.selection_value(row)):
            raise self._not_finite(f"{self.task.selection_metric or 'the validation value'} is NaN")
        if value > progress.best_value:
            progress.best_value, progress.epochs_without_improvement = value, 0
            progress.best_weights = copy.deepcopy(self.task.model.state_dict())
        return row

    def _validate(self) -> dict[str, float]:
        """Return the metrics of the epoch.

        Raises:
            FloatingPointError: A score is NaN. The message names the epoch.
        """
        try:
            return self.task.validate()
        except FloatingPointError:  # the ranking knows neither the epoch nor the learning rate
            raise self._not_finite("a score is NaN") from None

    def _not_finite(self, what: str) -> FloatingPointError:
        return FloatingPointError(
            f"{what} after epoch {self.progress.epoch}; lower {self.task.learning_rate_name}"
        )


def optimizer_step(
    task: TrainingTask, optimizer: torch.optim.Optimizer, loss: Tensor, clip_norm: float, where: str
) -> float:
    """Take one optimizer step.

    Args:
        task: Holds the model.
        optimizer: Of the parameters of the model.
        loss: This process's part of the loss.
        clip_norm: Bound of the gradient norm.
        where: Epoch, step and batch, for the error.

    Returns:
        The gradient norm before clipping.

    Raises:
        FloatingPointError: The loss or a gradient is not finite. The model is unchanged.
    """
    remedy = f"lower {task.learning_rate_name}"
    if not bool(torch.isfinite(distributed.all_reduce(loss))):
        raise FloatingPointError(f"the loss is {loss.item()} at {where}; {remedy}")
    optimizer.zero_grad()
    loss.backward()
    distributed.all_reduce_gradients(task.model.parameters())
    norm = nn.utils.clip_grad_norm_(task.model.parameters(), clip_norm)
    if not bool(torch.isfinite(norm)):
        raise FloatingPointError(f"a gradient is not finite at {where}; {remedy}")
    optimizer.step()
    return float(norm)
