"""Popularity and ItemCF against their definitions."""

import numpy as np
import pytest
import torch

from models.baselines import ItemCF, popularity, trending
from models.baselines.counting import Neighbours
from models.histories import Seen
from models.interest import Interest
from models.likes import liked
from tests.models.baselines.planted import small
from tests.models.worlds import histories

# Three people: {0, 1}, {0, 1, 2}, {2}; video 3 was never watched.
WATCHED = Seen(torch.tensor([0, 2, 5, 6]), torch.tensor([0, 1, 0, 1, 2, 2]))


def test_popularity_counts_people() -> None:
    assert popularity(WATCHED, 4).tolist() == [2, 2, 2, 0]


def test_what_is_trending_counts_each_person_once_and_less_the_longer_ago() -> None:
    past = histories((3, 2), videos=4)
    past.video_E[:] = torch.tensor([0, 1, 1, 1, 2])
    past.second_E[:] = torch.tensor([0, 0, 2, 1, 2]) * 86_400
    past.positive_E[:] = torch.tensor([True, True, True, True, False])
    assert trending(past, 4, 1.0).tolist() == [0.25, 1.0 + 0.5, 0.0, 0.0]
    assert trending(past, 4, 0.0).tolist() == popularity(liked(past), 4).tolist() == [1, 2, 0, 0]
    assert trending(histories((0, 0)), 4, 1.0).tolist() == [0, 0, 0, 0]


def test_itemcf_sums_the_cosine_to_what_was_watched() -> None:
    history = Seen(torch.tensor([0, 1, 3]), torch.tensor([0, 0, 1]))
    score_BV = ItemCF(WATCHED, 4).scores(history, torch.tensor([0, 1]))
    r_UV = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 0]])
    cosine = lambda a, b: (r_UV[:, a] @ r_UV[:, b]) / 2  # noqa: E731 - every norm is √2
    assert score_BV[0].tolist() == pytest.approx([0.0, cosine(0, 1), cosine(0, 2), 0.0], abs=1e-5)
    assert score_BV[1, 2].item() == pytest.approx(cosine(0, 2) + cosine(1, 2), abs=1e-5)


def test_itemcf_falls_back_to_popularity_for_a_person_without_a_history() -> None:
    watched = Seen(torch.tensor([0, 2, 3]), torch.tensor([2, 1, 2]))
    nobody = Seen(torch.tensor([0, 0]), torch.tensor([], dtype=torch.long))
    score_BV = ItemCF(watched, 4).scores(nobody, torch.tensor([0]))
    assert score_BV[0].argsort(descending=True)[:2].tolist() == [2, 1]


def test_a_saved_itemcf_is_the_itemcf_that_every_night_is_measured_against() -> None:
    history = Seen(torch.tensor([0, 1, 3, 3]), torch.tensor([0, 0, 2]))
    model = Neighbours(small("itemcf", video_ids=["a", "b", "c", "d"]))
    model.start(WATCHED)
    row_BT, mask_BT = torch.tensor([[0, 0], [0, 2], [0, 0]]), torch.tensor([[1, 0], [1, 1], [0, 0]]).bool()
    z_BI = model.read(row_BT, mask_BT)
    expected = ItemCF(WATCHED, 4).scores(history, torch.arange(3))
    assert torch.allclose(model.score(Interest(z_BI, z_BI)), expected)
