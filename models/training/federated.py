"""Federated averaging (McMahan et al. 2017, arXiv 1602.05629), simulated in one process.

The users are divided among clients. In each round every client trains from the global weights on its own
users. Then the weights are averaged, by the number of users.

Clients keep the state of their optimizer from round to round. The paper's clients use plain SGD, which has no
state. So one client with one local epoch is exactly central training.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from models.training.trainer import Trainer
from models.training.user_task import UserTask


class FederatedSettings(Protocol):
    """The settings of federated training, as in section `train.federated` of params.yaml.

    Attributes:
        clients: Number of clients.
        local_epochs: Epochs that a client trains in a round.
    """

    @property
    def clients(self) -> int: ...
    @property
    def local_epochs(self) -> int: ...


class FederatedTrainer(Trainer):
    """Trains by federated averaging. A round takes the place of an epoch.

    The steps of a round are counted through all clients, and so is the learning-rate schedule. A killed run
    cannot resume within a round.

    Args:
        task: Its users are divided among the clients.
        optimizer: Of the parameters of the model.
        federated: Number of clients and of local epochs.
        seed: Of the division.
        options: Of `Trainer`.
    """

    def __init__(
        self,
        task: UserTask,
        optimizer: torch.optim.Optimizer,
        *,
        federated: FederatedSettings,
        seed: int,
        **options: Any,
    ) -> None:
        super().__init__(task, optimizer, **options)
        self.clients = partition(task, federated.clients, seed)
        self.local_epochs = federated.local_epochs
        self.optimizer_states = [optimizer.state_dict() for _ in self.clients]

    def _train_epoch(self) -> None:
        """Run one round: every client trains from the global weights, and their weights are averaged."""
        batches_by_client = [self._local_batches(client) for client in self.clients]
        num_steps = sum(map(len, batches_by_client))
        num_users = sum(len(client.users) for client in self.clients)
        params = list(self.task.model.parameters())
        global_weights = [p.detach().clone() for p in params]
        means = [torch.zeros_like(p) for p in global_weights]
        self.task.set_train_mode()
        for i, (client, batches) in enumerate(zip(self.clients, batches_by_client, strict=True)):
            _set_weights(params, global_weights)
            self.optimizer.load_state_dict(self.optimizer_states[i])
            for batch in batches:
                self._run_step(batch, self.progress.step, num_steps)
            self.optimizer_states[i] = self.optimizer.state_dict()
            share = len(client.users) / num_users
            means = [mean + share * p.detach() for mean, p in zip(means, params, strict=True)]
        _set_weights(params, means)

    def _local_batches(self, client: UserTask) -> list[Tensor]:
        """Return the batches of a client in the current round."""
        first = self.progress.epoch * self.local_epochs
        return [batch for i in range(self.local_epochs) for batch in client.epoch_batches(first + i)]


def partition(task: UserTask, num_clients: int, seed: int) -> list[UserTask]:
    """Divide the users of a task at random among clients of nearly equal size. No client is empty.

    Args:
        task: The task of all users.
        num_clients: Number of clients, at most the number of users.
        seed: Of the division.

    Raises:
        ValueError: There are more clients than users.
    """
    if num_clients > len(task.users):
        raise ValueError(f"{num_clients} clients, but only {len(task.users)} users with a sequence")
    generator = torch.Generator("cpu").manual_seed(seed)
    client_B = torch.randperm(len(task.users), generator=generator, device="cpu") % num_clients
    return [task.of_users(client_B == client) for client in range(num_clients)]


@torch.no_grad()
def _set_weights(params: list[torch.nn.Parameter], weights: list[Tensor]) -> None:
    for p, weight in zip(params, weights, strict=True):
        p.copy_(weight)
