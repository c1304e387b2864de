"""The trainer of a `UserTask`: central, private or federated."""

from collections.abc import Sequence
from typing import Protocol

import torch

from models.training.federated import FederatedSettings, FederatedTrainer
from models.training.private import PrivateTrainer, sampling_rate
from models.training.trainer import Callback, Trainer
from models.training.user_task import BatchSettings, UserTask


class UserTrainingSettings(BatchSettings, Protocol):
    """The settings of section `train` of params.yaml that the training loop reads.

    Attributes:
        patience: Epochs without improvement before training stops.
        clip_norm: Bound of the gradient norm, of a batch or, in private training, of each user.
        federated: Set if training is federated.
    """

    @property
    def patience(self) -> int: ...
    @property
    def clip_norm(self) -> float: ...
    @property
    def federated(self) -> FederatedSettings | None: ...


def user_trainer(
    task: UserTask,
    optimizer: torch.optim.Optimizer,
    settings: UserTrainingSettings,
    epochs: int,
    callbacks: Sequence[Callback],
) -> Trainer:
    """Return the trainer that the settings ask for.

    Args:
        task: Model, users and losses.
        optimizer: Of the parameters of the model.
        settings: Of the training loop. At most one of `privacy` and `federated` is set.
        epochs: Most epochs to train.
        callbacks: Called in this order.

    Raises:
        ValueError: There are more clients than users.
    """
    if privacy := settings.privacy:
        return PrivateTrainer(
            task,
            optimizer,
            noise_multiplier=privacy.noise_multiplier,
            expected_users=sampling_rate(len(task.users), settings.batch_size) * len(task.users),
            clip_norm=settings.clip_norm,
            epochs=epochs,
            callbacks=callbacks,
        )
    if federated := settings.federated:
        return FederatedTrainer(
            task,
            optimizer,
            federated=federated,
            seed=settings.seed,
            epochs=epochs,
            patience=settings.patience,
            clip_norm=settings.clip_norm,
            callbacks=callbacks,
        )
    return Trainer(
        task,
        optimizer,
        epochs=epochs,
        patience=settings.patience,
        clip_norm=settings.clip_norm,
        callbacks=callbacks,
    )
