"""LightGCN against its formula, and the folding in."""

import pytest
import torch

from models.baselines.lightgcn import LAYERS, LightGCN, normalised
from models.histories import Seen
from tests.models.baselines.planted import small, trained

LIKES = Seen(torch.tensor([0, 2, 2, 5]), torch.tensor([0, 1, 0, 1, 2]))  # {0, 1}, {}, {0, 1, 2} of 4 videos


def test_the_graph_is_that_of_the_paper() -> None:
    found = normalised(LIKES, 4).to_dense()
    degree = [2, 0, 3, 2, 2, 1, 0]
    for user, video in ((0, 0), (0, 1), (2, 0), (2, 1), (2, 2)):
        expected = 1 / (degree[user] * degree[3 + video]) ** 0.5
        assert float(found[user, 3 + video]) == pytest.approx(expected)
        assert float(found[3 + video, user]) == pytest.approx(expected)
    assert int((found != 0).sum()) == 10


def test_a_user_folded_in_is_the_trained_one_but_for_its_own_vector() -> None:
    """Folding in leaves out e_u^(0) and nothing else."""
    one, _ = trained("lightgcn", 3)
    model, users_B = one.model, torch.arange(200)
    model.settle()
    batch = one.people.histories.batch(users_B, 12)
    folded = model.newest(batch, one.people.profiles, model.items(one.catalogue)).z_ND
    own = model.node.weight.detach()[users_B] / (LAYERS + 1)
    assert torch.allclose(folded, model.known(users_B).z_ND - own, atol=1e-5)


def test_a_step_moves_videos_that_are_only_neighbours_of_neighbours() -> None:
    torch.manual_seed(0)
    model = LightGCN(small("lightgcn", video_ids=[f"v{i}" for i in range(4)]))
    model.start(LIKES)
    model.layers()[2][0].sum().backward()  # two steps from user 0 is user 2, whose vector must get a slope
    slope = model.node.weight.grad.abs().sum(1)
    assert slope[2] > 0
    assert slope[1] == 0
