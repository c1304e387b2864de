"""BM3: its distance, its targets without gradient, and what stands for a new video."""

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from models.baselines.bm3 import BM3
from tests.support.planted_preferences import VIDEOS, make_item_table, small_config, train_baseline


def test_a_distance_gives_its_target_no_gradient() -> None:
    torch.manual_seed(0)
    model = BM3(small_config("bm3"))
    x_ND, target_ND = torch.randn(3, 32, requires_grad=True), torch.randn(3, 32, requires_grad=True)
    distance_N = model.distance(x_ND, target_ND)
    cosine_N = F.cosine_similarity(model.predictor(x_ND), target_ND)
    assert torch.allclose(distance_N, 1 - cosine_N)
    distance_N.sum().backward()
    assert target_ND.grad is None
    assert x_ND.grad is not None
    assert x_ND.grad.any()


def test_dropout_makes_the_view() -> None:
    torch.manual_seed(0)
    model, x_ND = BM3(small_config("bm3", dropout=0.5)), torch.randn(3, 32)
    assert not torch.equal(model.distance(x_ND, x_ND), model.distance(x_ND, x_ND))


def test_an_item_embedding_has_its_own_embedding_as_residual() -> None:
    model = train_baseline("bm3", 2)[0].model
    with torch.no_grad():
        model.prepare_scoring()
        h_XD = torch.stack(model.propagate()).mean(0) + model.node_embedding.weight
    assert torch.allclose(model.item_embedding_ID, h_XD[-VIDEOS:])
    assert float(model.content_norm) == pytest.approx(float(h_XD[-VIDEOS:].norm(dim=1).mean()))


def test_missing_content_is_left_out() -> None:
    """The text of video 0 is missing. Its values change neither the loss nor the embedding of a new video."""
    model, tables = train_baseline("bm3", 1)[0].model.eval(), [make_item_table(), make_item_table()]
    tables[1].modality_features["text"][0] = 9.0
    vectors = []
    for table in tables:
        table.id_row_V.fill_(-1)
        vectors.append(model.encode_items(table).w_VF)
    assert torch.equal(*vectors)
