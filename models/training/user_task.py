"""Training on batches of users: what the interest model and the baselines have in common."""

import copy
from collections.abc import Sequence
from typing import Literal, Protocol, Self

from torch import Tensor

from models.training.batching import batches
from models.training.private import PrivacySettings, poisson_batches
from models.training.trainer import TrainingTask


class BatchSettings(Protocol):
    """The settings of section `train` of params.yaml that make the batches.

    Attributes:
        batch_size: Users in a batch, on average.
        batch_by: See `models.training.batching.batches`.
        seed: Of the batches.
        privacy: Set if training is private. Then the batches are Poisson samples.
    """

    @property
    def batch_size(self) -> int: ...
    @property
    def batch_by(self) -> Literal["users", "events"]: ...
    @property
    def seed(self) -> int: ...
    @property
    def privacy(self) -> PrivacySettings | None: ...


class UserTask(TrainingTask):
    """Training whose batches are rows of users.

    A subclass sets the attributes.

    Attributes:
        settings: Settings of the batches.
        users: Rows of the users that have a sequence.
        lengths: Number of interactions of each of them.
    """

    settings: BatchSettings
    users: Tensor
    lengths: Tensor

    def epoch_batches(self, epoch: int) -> Sequence[Tensor]:
        """Return the rows of the users in batches."""
        s = self.settings
        if s.privacy:
            return poisson_batches(self.users, s.batch_size, s.seed, epoch)
        return list(batches(self.users, self.lengths, s.batch_size, s.batch_by, s.seed, epoch))

    def of_users(self, chosen_B: Tensor) -> Self:
        """Return the same task on some of its users. Model and data are shared.

        Args:
            chosen_B: Bool, for each of `users`.
        """
        part = copy.copy(self)
        part.users, part.lengths = self.users[chosen_B], self.lengths[chosen_B]
        return part
