"""MMGCN: its layers equal the formulas, a new node is folded in, and all tensors learn."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from models.baselines.graph import mean_adjacency
from models.baselines.mmgcn import MMGCN, GraphLayer
from models.data.sequences import SeenItems
from tests.support.planted_preferences import (
    USERS,
    VIDEOS,
    make_item_table,
    make_scorer,
    planted_sequences,
    small_config,
    train_baseline,
)

POSITIVES = SeenItems(
    torch.tensor([0, 2, 2, 5]), torch.tensor([0, 1, 0, 1, 2])
)  # {0, 1}, {}, {0, 1, 2} of 4 videos


def test_the_mean_adjacency_takes_the_mean_over_neighbours() -> None:
    x_XD = torch.randn(7, 2)
    mean_XD = mean_adjacency(POSITIVES, 4) @ x_XD
    assert torch.allclose(mean_XD[0], (x_XD[3] + x_XD[4]) / 2)
    assert torch.allclose(mean_XD[5], x_XD[2])
    assert not mean_XD[1].any()
    assert not mean_XD[6].any()


def test_a_layer_equals_the_formula() -> None:
    torch.manual_seed(0)
    layer = GraphLayer(2, 3)
    mean_MND, x_MND, id_ND = torch.randn(2, 4, 3), torch.randn(2, 4, 3), torch.randn(4, 3)
    for m in range(2):
        h_ND = F.leaky_relu(mean_MND[m] @ layer.neighbours_MDD[m])
        own_ND = F.leaky_relu(x_MND[m] @ layer.own_MDD[m]) + id_ND
        expected_ND = F.leaky_relu(torch.cat([h_ND, own_ND], 1) @ layer.combination_MFD[m])
        assert torch.allclose(layer(mean_MND, x_MND, id_ND)[m], expected_ND, atol=1e-6)


def test_training_moves_the_tensors_that_the_published_code_leaves_out() -> None:
    """Preferences and ID embeddings of users and videos are in the optimizer of `fit_baseline`."""
    torch.manual_seed(1)
    start = make_scorer(MMGCN(small_config("mmgcn")), planted_sequences()[0]).model
    start.init_from_statistics(POSITIVES)
    names = {"preference_MUD", "user_id_embedding.weight", "id_embedding.weight"}
    assert names <= {name for name, _ in start.named_parameters()}
    trained = [dict(train_baseline("mmgcn", epochs)[0].model.named_parameters()) for epochs in (1, 2)]
    for name in names:
        moved = (trained[0][name] - trained[1][name]).abs().flatten(0, -2).amax(1)
        assert (moved > 0).all(), name


def test_a_new_user_is_one_more_node_of_the_graph() -> None:
    """If all users are like the mean user, the fold-in of a training user is exact."""
    model, sequences = train_baseline("mmgcn", 2)[0].model, planted_sequences()[0]
    with torch.no_grad():
        model.preference_MUD.copy_(model.preference_MUD.mean(1, keepdim=True).expand_as(model.preference_MUD))
        model.user_id_embedding.weight.copy_(model.user_id_embedding.weight.mean(0).expand(USERS, -1))
        model.prepare_scoring()
        expected_UD = model.propagate()[-1].mean(0)[:USERS]
        row_BT = sequences.video_E[sequences.positive_E].view(USERS, -1)
        folded_BD = model.encode_sequence(row_BT, torch.ones_like(row_BT, dtype=torch.bool))
    assert torch.allclose(folded_BD, expected_UD, atol=1e-4)


def test_a_new_video_is_a_node_without_links() -> None:
    model = train_baseline("mmgcn", 2)[0].model
    with torch.no_grad():
        items = model.encode_items(make_item_table(VIDEOS + 2))
        model.item_embedding_ID.add_(1.0)
        moved = model.encode_items(make_item_table(VIDEOS + 2)).w_VF - items.w_VF
    assert torch.allclose(moved[:VIDEOS], torch.ones(VIDEOS, 32))
    assert not moved[VIDEOS:].any()
    assert not torch.allclose(items.w_VF[VIDEOS], items.w_VF[VIDEOS + 1])


def test_a_user_without_positives_has_a_state() -> None:
    model = train_baseline("mmgcn", 1)[0].model
    z_BD = model.encode_sequence(torch.zeros(2, 0, dtype=torch.long), torch.zeros(2, 0, dtype=torch.bool))
    assert z_BD.isfinite().all()
    assert z_BD[0].tolist() == pytest.approx(z_BD[1].tolist())
