"""The random walk against dense matrices."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.sources import neighbours, random_walk
from models.sources.random_walk import POPULARITY_WEIGHT, WALK_ROUNDS, RandomWalk
from tests.models.sources.inputs import Event, catalogue, likes, score, to_sequences

VIDEOS = 7
ITEMS = catalogue(range(VIDEOS))
graphs = st.lists(st.sets(st.integers(0, VIDEOS - 1)), min_size=1, max_size=6)


def events_of(positives: list[set[int]]) -> list[list[Event]]:
    return [likes(*sorted(rows)) for rows in positives]


def fit_walk(positives: list[set[int]]) -> RandomWalk:
    walk = RandomWalk(VIDEOS)
    walk.init_from_statistics(to_sequences(events_of(positives)), ITEMS)
    return walk


@given(graphs, st.integers(1, VIDEOS))
def test_the_lift_equals_the_dense_random_walk(positives: list[set[int]], chunk: int) -> None:
    positive_UI = np.zeros((len(positives), VIDEOS))
    for user, rows in enumerate(positives):
        positive_UI[user, sorted(rows)] = 1
    by_video = positive_UI.T / np.maximum(positive_UI.sum(0)[:, None], 1)
    by_user = positive_UI / np.maximum(positive_UI.sum(1)[:, None], 1)
    reached_UI = by_user @ np.linalg.matrix_power(by_video @ by_user, WALK_ROUNDS)
    popularity_I = positive_UI.sum(0) / max(positive_UI.sum(), 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random_walk, "ROWS_PER_CHUNK", chunk)
        lift_BI = score(fit_walk(positives), events_of(positives), ITEMS).numpy()
    for user, rows in enumerate(positives):
        for row in range(VIDEOS):
            expected = 0.0
            if popularity_I[row] and rows:
                expected = np.log(
                    (reached_UI[user, row] / popularity_I[row] + POPULARITY_WEIGHT) / (1 + POPULARITY_WEIGHT)
                )
            assert lift_BI[user, row] == pytest.approx(expected, abs=1e-5)


@given(graphs, st.integers(1, VIDEOS))
def test_pruned_walks_keep_total_probability_1(positives: list[set[int]], num_neighbours: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "NUM_NEIGHBOURS", num_neighbours)
        walk = fit_walk(positives)
    assert walk.neighbours.neighbour_XK.shape == (VIDEOS, num_neighbours)
    lift_BI = score(walk, events_of(positives), ITEMS)
    popularity_I = walk.num_positives_I / walk.num_positives_I.sum().clamp(min=1)
    if walk.num_positives_I.any():
        assert (popularity_I * lift_BI.exp()).sum(1).tolist() == pytest.approx(
            [1.0] * len(positives), abs=1e-5
        )


def test_only_distinct_positives_of_known_videos_start_a_walk() -> None:
    walk = fit_walk([{0, 1}, {1, 2}, {3}])
    items = catalogue([*range(VIDEOS), -1])
    users = [likes(0), [*likes(0, 0, VIDEOS), Event(3, positive=False)]]
    lift_BV = score(walk, users, items)
    assert torch.equal(lift_BV[0], lift_BV[1])
    assert lift_BV[0, 0] > lift_BV[0, 2] > lift_BV[0, 3]


def test_only_the_most_liked_videos_are_counted() -> None:
    walk = RandomWalk(VIDEOS, max_videos=3)
    likes_of_users = [{3, 5}, {3, 5}, {4}, {4}, {1, 3}]
    walk.init_from_statistics(to_sequences(events_of(likes_of_users)), ITEMS)
    score_BV = score(walk, events_of([{3}, {1}]), ITEMS)
    assert walk.row_C.tolist() == [3, 4, 5]
    assert score_BV[0].nonzero().flatten().tolist() == [3, 4, 5]
    assert not score_BV[1].any()


def test_with_many_positives_a_sample_of_the_users_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    positives = [{0, 1}] * 30 + [{5, 6}] * 30
    everyone = fit_walk(positives)
    monkeypatch.setattr(random_walk, "MAX_POSITIVES", 40)
    sample = fit_walk(positives)
    assert torch.equal(sample.neighbours.weight_XK, fit_walk(positives).neighbours.weight_XK)
    assert sample.num_positives_I.tolist() == everyone.num_positives_I.tolist()
    liked = score(sample, events_of([{0}]), ITEMS)[0]
    assert liked[1] > 0 > liked[5]
