"""LightGCN equals its formula, and so does the fold-in."""

import pytest
import torch

from models.baselines.graph import normalised_adjacency
from models.baselines.lightgcn import NUM_LAYERS, LightGCN
from models.data.sequences import SeenItems
from tests.support.planted_preferences import small_config, train_baseline

POSITIVES = SeenItems(
    torch.tensor([0, 2, 2, 5]), torch.tensor([0, 1, 0, 1, 2])
)  # {0, 1}, {}, {0, 1, 2} of 4 videos


def test_the_adjacency_equals_the_formula() -> None:
    adjacency = normalised_adjacency(POSITIVES, 4).to_dense()
    degree = [2, 0, 3, 2, 2, 1, 0]
    for user, video in ((0, 0), (0, 1), (2, 0), (2, 1), (2, 2)):
        expected = 1 / (degree[user] * degree[3 + video]) ** 0.5
        assert float(adjacency[user, 3 + video]) == pytest.approx(expected)
        assert float(adjacency[3 + video, user]) == pytest.approx(expected)
    assert int((adjacency != 0).sum()) == 10


def test_folding_in_leaves_out_the_initial_user_vector() -> None:
    """The fold-in leaves out e_u^(0) only."""
    scorer, _ = train_baseline("lightgcn", 3)
    model, users_B = scorer.model, torch.arange(200)
    model.prepare_scoring()
    batch = scorer.user_data.sequences.padded_batch(users_B, 12)
    folded = model.encode_user(batch, scorer.user_data.profiles, model.encode_items(scorer.item_table)).z_ND
    initial = model.node_embedding.weight.detach()[users_B] / (NUM_LAYERS + 1)
    assert torch.allclose(folded, model.encode_training_user(users_B).z_ND - initial, atol=1e-5)


def test_gradients_reach_neighbours_of_neighbours() -> None:
    torch.manual_seed(0)
    model = LightGCN(small_config("lightgcn", video_ids=[f"v{i}" for i in range(4)]))
    model.init_from_statistics(POSITIVES)
    model.propagate()[2][
        0
    ].sum().backward()  # user 2 is two steps from user 0, so its vector must get a gradient
    slope = model.node_embedding.weight.grad.abs().sum(1)
    assert slope[2] > 0
    assert slope[1] == 0
