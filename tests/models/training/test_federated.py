"""Federated averaging: clients train on their own users, and their weights are averaged."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch

from models.baselines.sasrec import SASRec
from models.training.baselines import BaselineTask, BaselineTrainingConfig, fit_baseline
from models.training.federated import partition
from models.training.trainer import SeedSteps, Trainer
from models.training.user_trainers import user_trainer
from tests.support.planted_preferences import USERS, make_item_table, planted_sequences, small_config

CONFIG = BaselineTrainingConfig(2, 2, 32, 0.003, 0.01, 1.0, 1)


@dataclass(frozen=True)
class Federated:
    clients: int
    local_epochs: int = 1


def make_task(config: BaselineTrainingConfig = CONFIG, dropout: float = 0.0) -> BaselineTask:
    torch.manual_seed(0)
    model = SASRec(small_config("sasrec", layers=1, dropout=dropout))
    return BaselineTask(model, planted_sequences()[0], torch.arange(40), config, dict, "")


def test_one_client_with_one_local_epoch_is_central_training() -> None:
    states, curves = [], []
    for config in (CONFIG, replace(CONFIG, federated=Federated(1))):
        task = make_task(config, dropout=0.1)
        curves.append(fit_baseline(task.baseline, task.sequences, make_item_table(), config, dict, "ndcg@10"))
        states.append(task.model.state_dict())
    assert all(torch.equal(x, states[1][name]) for name, x in states[0].items())
    assert curves[0] == curves[1]


def test_a_round_is_the_mean_of_the_local_trainings_by_users() -> None:
    config = replace(CONFIG, epochs=1, federated=Federated(3, local_epochs=2))
    task = make_task(config)
    clients = partition(copy.deepcopy(task), 3, config.seed)
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=0.003)
    user_trainer(task, optimizer, config, 1, [SeedSteps(1)]).fit()

    expected = {name: torch.zeros_like(x) for name, x in task.model.state_dict().items()}
    for client in clients:
        local = copy.deepcopy(client)
        local_optimizer = torch.optim.AdamW(local.model.parameters(), lr=0.003)
        Trainer(local, local_optimizer, epochs=2, clip_norm=1.0).fit()
        for name, x in local.model.state_dict().items():
            expected[name] += len(client.users) / USERS * x
    state = {name: x for name, x in task.model.state_dict().items() if name != "num_positives_I"}
    assert [len(client.users) for client in clients] == [67, 67, 66]
    for name, x in state.items():
        assert torch.allclose(x, expected[name], atol=1e-6), name


def test_every_user_has_one_client() -> None:
    task = make_task()
    clients = partition(task, 7, seed=1)
    users = torch.cat([client.users for client in clients])
    assert users.sort().values.tolist() == task.users.tolist()
    sizes = [len(client.users) for client in clients]
    assert max(sizes) - min(sizes) <= 1
    again = partition(task, 7, seed=1)
    assert all(torch.equal(a.users, b.users) for a, b in zip(clients, again, strict=True))
    assert clients[0].users.tolist() != partition(task, 7, seed=2)[0].users.tolist()


def test_more_clients_than_users_are_refused() -> None:
    with pytest.raises(ValueError, match="201 clients, but only 200 users"):
        partition(make_task(), USERS + 1, seed=1)


def test_a_client_reads_its_own_users_only() -> None:
    for client in partition(make_task(), 4, seed=1):
        read = torch.cat(list(client.epoch_batches(0)))
        assert read.sort().values.tolist() == client.users.tolist()
