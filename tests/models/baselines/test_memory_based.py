"""Popularity and ItemCF equal their definitions."""

import numpy as np
import pytest
import torch

from models.baselines import ItemCF, popularity, trending
from models.baselines.memory_based import ItemKNN
from models.data.positives import positives_by_user
from models.data.sequences import SeenItems
from models.data.user_state import UserState
from tests.support.model_inputs import make_sequences
from tests.support.planted_preferences import small_config

# Three users: {0, 1}, {0, 1, 2}, {2}; video 3 was never watched.
POSITIVES = SeenItems(torch.tensor([0, 2, 5, 6]), torch.tensor([0, 1, 0, 1, 2, 2]))


def test_popularity_counts_users() -> None:
    assert popularity(POSITIVES, 4).tolist() == [2, 2, 2, 0]


def test_trending_counts_each_user_once_with_recency() -> None:
    sequences = make_sequences((3, 2), videos=4)
    sequences.video_E[:] = torch.tensor([0, 1, 1, 1, 2])
    sequences.timestamp_E[:] = torch.tensor([0, 0, 2, 1, 2]) * 86_400
    sequences.positive_E[:] = torch.tensor([True, True, True, True, False])
    assert trending(sequences, 4, 1.0).tolist() == [0.25, 1.0 + 0.5, 0.0, 0.0]
    assert (
        trending(sequences, 4, 0.0).tolist()
        == popularity(positives_by_user(sequences), 4).tolist()
        == [1, 2, 0, 0]
    )
    assert trending(make_sequences((0, 0)), 4, 1.0).tolist() == [0, 0, 0, 0]


def test_itemcf_sums_the_cosine_to_the_positives() -> None:
    positives = SeenItems(torch.tensor([0, 1, 3]), torch.tensor([0, 0, 1]))
    score_BV = ItemCF(POSITIVES, 4).score_items(positives, torch.tensor([0, 1]))
    r_UV = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 0]])
    cosine = lambda a, b: (r_UV[:, a] @ r_UV[:, b]) / 2  # noqa: E731 - every norm is √2
    assert score_BV[0].tolist() == pytest.approx([0.0, cosine(0, 1), cosine(0, 2), 0.0], abs=1e-5)
    assert score_BV[1, 2].item() == pytest.approx(cosine(0, 2) + cosine(1, 2), abs=1e-5)


def test_itemcf_falls_back_to_popularity_without_positives() -> None:
    train_positives = SeenItems(torch.tensor([0, 2, 3]), torch.tensor([2, 1, 2]))
    empty = SeenItems(torch.tensor([0, 0]), torch.tensor([], dtype=torch.long))
    score_BV = ItemCF(train_positives, 4).score_items(empty, torch.tensor([0]))
    assert score_BV[0].argsort(descending=True)[:2].tolist() == [2, 1]


def test_saved_itemcf_equals_the_reference_itemcf() -> None:
    positives = SeenItems(torch.tensor([0, 1, 3, 3]), torch.tensor([0, 0, 2]))
    model = ItemKNN(small_config("itemcf", video_ids=["a", "b", "c", "d"]))
    model.init_from_statistics(POSITIVES)
    row_BT, mask_BT = torch.tensor([[0, 0], [0, 2], [0, 0]]), torch.tensor([[1, 0], [1, 1], [0, 0]]).bool()
    z_BI = model.encode_sequence(row_BT, mask_BT)
    expected = ItemCF(POSITIVES, 4).score_items(positives, torch.arange(3))
    assert torch.allclose(model.score_vocabulary(UserState(z_BI, z_BI)), expected)
