"""Sources of neighbours: ItemCF, EASE and transitions, against dense or hand-computed weights."""

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.baselines import ItemCF as ReferenceItemCF
from models.data.positives import positives_by_user
from models.sources import ease, item_cf, neighbours
from models.sources.ease import Ease
from models.sources.item_cf import ItemCF
from models.sources.neighbours import Neighbours, strongest
from models.sources.transition import PRIOR_COUNT, Transition
from tests.models.sources.inputs import Event, batch_of, catalogue, likes, score, to_sequences

VIDEOS = 6
ITEMS = catalogue(range(VIDEOS))
graphs = st.lists(st.sets(st.integers(0, VIDEOS - 1)), min_size=1, max_size=8)


def dense(users: list[set[int]]) -> np.ndarray:
    x_UI = np.zeros((len(users), VIDEOS))
    for user, videos in enumerate(users):
        x_UI[user, list(videos)] = 1
    return x_UI


def test_the_strongest_entries_come_first_and_the_lower_column_of_equals() -> None:
    weights = sp.csr_array(np.array([[0.0, 2, 3, 3], [0, 0, 0, 0], [1, 0, 0, 5]]))
    column_XK, value_XK = strongest(weights, 2)
    assert column_XK.tolist() == [[2, 3], [0, 0], [3, 0]]
    assert value_XK.tolist() == [[3, 3], [0, 0], [5, 1]]


def test_chunks_of_pairs_give_the_same_sums(monkeypatch) -> None:
    table = Neighbours(3, 3)
    table.set_rows(slice(None), sp.csr_array(np.array([[0.0, 2, 3], [1, 0, 0], [4, 5, 0]])))
    user_P, row_P, weight_P = torch.tensor([0, 0, 2]), torch.tensor([0, 2, 1]), torch.tensor([1.0, 2.0, 3.0])
    monkeypatch.setattr(neighbours, "CHUNK_WEIGHTS", 3)
    assert table(user_P, row_P, weight_P, 3).tolist() == [[8, 12, 3], [0, 0, 0], [3, 0, 0]]


@given(graphs, st.integers(1, VIDEOS))
def test_item_cf_equals_the_reference(users: list[set[int]], chunk: int) -> None:
    events = [likes(*sorted(videos)) for videos in users]
    positives, source = positives_by_user(to_sequences(events)), ItemCF(VIDEOS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_cf, "CHUNK_COSINES", chunk * VIDEOS)
        source.init_from_statistics(to_sequences(events), ITEMS)
    reference = ReferenceItemCF(positives, VIDEOS)
    expected_BV = dense(users) @ reference.similarity_VV.toarray()
    assert score(source, events, ITEMS).numpy() == pytest.approx(expected_BV, abs=1e-5)


def test_item_cf_counts_fewer_videos_at_a_time_if_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    cosine_similarity = item_cf.cosine_similarity

    def recorded(*args: Any) -> sp.csr_array:
        sizes.append(args[2].stop - args[2].start)
        return cosine_similarity(*args)

    monkeypatch.setattr(item_cf, "cosine_similarity", recorded)
    monkeypatch.setattr(item_cf, "CHUNK_COSINES", 2 * VIDEOS)
    ItemCF(VIDEOS).init_from_statistics(to_sequences([likes(0, 1), likes(0)]), ITEMS)
    assert max(sizes) == 2
    assert sum(sizes) == VIDEOS


def test_item_cf_reads_distinct_positives_only() -> None:
    source = ItemCF(3)
    source.init_from_statistics(to_sequences([likes(0, 1), likes(0)]), catalogue([0, 1, 2]))
    events = [*likes(1, 1), Event(0, positive=False)]
    assert score(source, [events], catalogue([0, 1, 2]))[0].tolist() == pytest.approx([1 / 2**0.5, 0, 0])
    assert score(source, [events], catalogue([-1, 1, 0]))[0].tolist() == pytest.approx([0, 0, 1 / 2**0.5])


@given(graphs, st.floats(0.1, 5.0))
def test_ease_equals_the_closed_form(users: list[set[int]], regularisation: float) -> None:
    events, x_UI = [likes(*sorted(videos)) for videos in users], dense(users)
    source = Ease(VIDEOS, regularisation=regularisation)
    source.init_from_statistics(to_sequences(events), ITEMS)
    gram = x_UI.T @ x_UI + regularisation * np.eye(VIDEOS)
    p_II = np.linalg.inv(gram)
    weight_II = -p_II / np.diag(p_II)
    np.fill_diagonal(weight_II, 0.0)
    assert score(source, events, ITEMS).numpy() == pytest.approx(x_UI @ weight_II, abs=1e-4)


def test_ease_is_the_least_squares_solution() -> None:
    x_UI = torch.tensor(dense([{0, 1}, {0, 1, 2}, {2, 3}, {0, 4}, {1, 2}])).double()
    weight_II = ease.ease_weights(x_UI.T @ x_UI, 0.7)
    for column in range(VIDEOS):
        others = [row for row in range(VIDEOS) if row != column]
        a_UI = x_UI[:, others]
        ridge_I = torch.linalg.solve(a_UI.T @ a_UI + 0.7 * torch.eye(5), a_UI.T @ x_UI[:, column])
        assert torch.allclose(weight_II[others, column], ridge_I)


def test_ease_counts_the_most_liked_videos_only() -> None:
    users = [likes(1, 4), likes(1, 4, 5), likes(1, 5, 4), likes(0, 5), likes(2)]
    source, small = Ease(VIDEOS, max_videos=3, regularisation=1.0), Ease(3, regularisation=1.0)
    source.init_from_statistics(to_sequences(users), ITEMS)
    assert source.row_C.tolist() == [1, 4, 5]
    assert tuple(source.neighbours.weight_XK.shape) == (3, VIDEOS)
    small.init_from_statistics(to_sequences(users), catalogue([-1, 0, -1, -1, 1, 2]))
    score_BV = score(source, users, ITEMS)
    assert torch.allclose(score_BV, score(small, users, catalogue([-1, 0, -1, -1, 1, 2])), atol=1e-6)
    assert not score_BV[:, [0, 2, 3]].any()
    assert score_BV[4].tolist() == [0] * VIDEOS


def test_ease_keeps_the_weights_that_are_largest_in_absolute_value(monkeypatch) -> None:
    users = [likes(0, 1)] * 5 + [likes(0, 2), likes(3, 4), likes(1, 5), likes(2, 3)]
    full = Ease(VIDEOS, regularisation=1.0)
    full.init_from_statistics(to_sequences(users), ITEMS)
    monkeypatch.setattr(neighbours, "NUM_NEIGHBOURS", 2)
    pruned = Ease(VIDEOS, regularisation=1.0)
    pruned.init_from_statistics(to_sequences(users), ITEMS)
    for row in range(VIDEOS):
        full_V, pruned_V = (score(each, [likes(row)], ITEMS)[0] for each in (full, pruned))
        kept = full_V.abs().topk(2).indices
        assert torch.allclose(pruned_V[kept], full_V[kept])
        assert pruned_V.count_nonzero() <= 2


def test_transitions_are_counted_by_distance_within_the_gap_and_the_user() -> None:
    users = [
        [Event(0), Event(5, positive=False), Event(1), Event(2), Event(0, day=30)],
        [Event(0), Event(1)],
        [Event(3)],
    ]
    source = Transition(VIDEOS, window=2, max_gap_days=7)
    source.init_from_statistics(to_sequences(users), ITEMS)
    from_0 = [0, 2, 0.5, 0, 0, 0]  # 0 → 1 twice, 0 → 2 at distance 2
    scale = 1 / (2.5 + PRIOR_COUNT)
    assert score(source, [likes(0)], ITEMS)[0].tolist() == pytest.approx([scale * c for c in from_0])
    assert not score(source, [likes(3), likes(5), likes(2)], ITEMS).any()


def test_transitions_start_from_the_newest_positives() -> None:
    source = Transition(VIDEOS, num_recent=2, decay=0.5)
    source.init_from_statistics(to_sequences([likes(0, 1), likes(2, 3), likes(4, 5)]), ITEMS)
    p = 1 / (1 + PRIOR_COUNT)
    events = [*likes(4, 0, 2), Event(4, positive=False)]
    assert score(source, [events], ITEMS)[0].tolist() == pytest.approx([0, p / 2, 0, p, 0, 0])
    assert batch_of([events, []]).mask_BT.shape == (2, 4)
    assert not score(source, [events, []], ITEMS)[1].any()
