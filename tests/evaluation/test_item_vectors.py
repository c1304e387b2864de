"""Near videos and the map: planted groups are near, and withdrawn or unknown videos are left out."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from evaluation.item_vectors import MAX_MAPPED, ItemVectors, map_items, principal_components
from models.baselines.sasrec import SASRec
from models.evaluation.scoring import Scorer
from models.retrieval import full_ranking
from models.retrieval.item_scores import even_weight_item_vectors
from tests.support import model_inputs, planted_preferences
from tests.support.planted_preferences import VIDEOS, planted_sequences, small_config
from tests.support.torch_operations import TorchOperations


def make_snapshot(categories: list) -> Any:
    return SimpleNamespace(videos=pa.table({"category": pa.array(categories, pa.string())}))


def make_vectors(groups: int, size: int) -> ItemVectors:
    """Videos of some groups, each group in a direction of its own."""
    torch.manual_seed(0)
    centre_CD = torch.eye(groups, 8).repeat_interleave(size, 0)
    vector_CD = F.normalize(centre_CD + 0.05 * torch.randn(groups * size, 8), dim=1)
    return ItemVectors(torch.arange(groups * size), vector_CD)


def test_the_vectors_of_the_interest_model_are_the_item_embeddings_without_their_mean() -> None:
    scorer = Scorer(model_inputs.make_model(), model_inputs.make_item_table(), model_inputs.make_user_data())
    vectors = ItemVectors.of_model(scorer)
    assert vectors is not None
    x_VD = even_weight_item_vectors(scorer.model.encode_items(scorer.item_table))[:, :-1]
    assert torch.allclose(vectors.vector_CD, F.normalize(x_VD - x_VD.mean(0), dim=1), atol=1e-5)
    assert len(vectors.row_C) == 12


def test_withdrawn_and_unknown_videos_have_no_vector() -> None:
    scorer = planted_preferences.make_scorer(SASRec(small_config("sasrec")), planted_sequences()[0])
    table = planted_preferences.make_item_table(VIDEOS + 2)  # two videos were not in training
    until_V = torch.full((VIDEOS + 2,), 20)
    until_V[3] = 9
    vectors = ItemVectors.of_model(
        replace(scorer, item_table=replace(table, available_until_V=until_V), day=10)
    )
    assert vectors is not None
    assert vectors.row_C.tolist() == [row for row in range(VIDEOS) if row != 3]


@pytest.mark.parametrize("name", ["popularity", "lightgcn", "din", "m3csr", "mmgcn", "bm3"])
def test_a_model_whose_users_do_not_score_item_embeddings_has_no_vectors(name: str) -> None:
    scorer, _ = planted_preferences.train_baseline(name, 1)
    assert ItemVectors.of_model(scorer) is None
    summary, table = map_items(None, make_snapshot([]))
    assert summary["num_videos"] == len(table) == 0


def test_vectors_of_width_1_have_no_map() -> None:
    vectors = ItemVectors(torch.arange(20), torch.ones(20, 1))
    assert map_items(vectors, make_snapshot(["a"] * 20))[0]["num_videos"] == 0


def test_the_nearest_videos_are_those_of_the_nearest_vector() -> None:
    vectors = make_vectors(4, 5)
    user_BXD = torch.zeros(2, 2, 8)
    user_BXD[0, :, 1] = 3.0  # both vectors point to group 1
    user_BXD[1, 0, 0] = user_BXD[1, 1, 2] = 0.5
    nearest = vectors.nearest(user_BXD, 5)
    assert set(nearest[0].tolist()) == set(range(5, 10))
    assert set(vectors.nearest(user_BXD, 10)[1].tolist()) == {*range(5), *range(10, 15)}


def test_the_nearest_videos_are_found_for_a_few_users_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, user_BXD = make_vectors(4, 5), torch.randn(7, 2, 8)
    nearest_BK = vectors.nearest(user_BXD, 3)
    monkeypatch.setattr(full_ranking, "CHUNK_SCORES", 2 * 2 * len(vectors.row_C))
    with TorchOperations() as operations:
        assert torch.equal(vectors.nearest(user_BXD, 3), nearest_BK)
    assert operations.largest < user_BXD[:, :, 0].numel() * len(vectors.row_C)


def test_the_map_separates_planted_groups_and_counts_equal_categories() -> None:
    categories = ["a"] * 20 + ["b"] * 20 + ["c"] * 19 + [None]
    summary, table = map_items(make_vectors(3, 20), make_snapshot(categories))
    assert summary["num_videos"] == 60
    assert summary["explained_variance"] > 0.8
    assert summary["same_category"] == 1.0
    assert summary["same_category_by_chance"] == pytest.approx((2 * 20 * 19 + 19 * 18) / (59 * 58))
    xy = np.stack([table["x"], table["y"]], 1).reshape(3, 20, 2)
    centres = xy.mean(1)
    assert np.abs(xy - centres[:, None]).max() < 0.3 * np.abs(centres[0] - centres[1]).max()
    assert table["category"].to_pylist() == categories


def test_the_map_is_a_bounded_sample_of_the_catalogue() -> None:
    vectors = make_vectors(3, MAX_MAPPED)
    summary, table = map_items(vectors, make_snapshot(["a"] * 3 * MAX_MAPPED))
    assert summary["num_videos"] == len(table) == MAX_MAPPED
    assert np.diff(table["video_row"].to_numpy()).min() == 3


def test_principal_components_do_not_depend_on_the_sign_of_the_decomposition() -> None:
    torch.manual_seed(0)
    x_CD = torch.randn(30, 4) * torch.tensor([5.0, 2.0, 0.5, 0.1])
    xy_C2, explained = principal_components(x_CD)
    variance = x_CD.var(0)
    assert explained == pytest.approx(float(variance[:2].sum() / variance.sum()), abs=0.05)
    assert torch.allclose(xy_C2.var(0), x_CD[:, :2].var(0), rtol=0.1)
    correlation = torch.corrcoef(torch.cat([xy_C2, x_CD[:, :2]], 1).T)
    assert correlation[0, 2] > 0.9
    assert correlation[1, 3] > 0.9
