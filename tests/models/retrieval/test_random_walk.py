"""Random walks: what is counted, and what is added to scores."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.bundle import load_bundle, save_bundle
from models.data.positives import known_positives_by_user
from models.data.sequences import SeenItems
from models.data.targets import Targets
from models.data.users import UserData
from models.evaluation.scoring import Scorer, mean_ndcg, score_in_chunks
from models.interest_model import InterestModel
from models.retrieval import random_walk
from models.retrieval.random_walk import POPULARITY_WEIGHT, WALK_ROUNDS, RandomWalk
from tests.support.model_inputs import make_item_table, make_model, make_profiles, make_sequences

VIDEOS = 7
graphs = st.lists(st.sets(st.integers(0, VIDEOS - 1)), min_size=1, max_size=6)


def seen_items(positives: Sequence[set[int]]) -> SeenItems:
    rows = [row for user_rows in positives for row in sorted(user_rows)]
    return SeenItems(torch.tensor([0, *map(len, positives)]).cumsum(0), torch.tensor(rows, dtype=torch.long))


def fit_walk(positives: Sequence[set[int]]) -> RandomWalk:
    walk = RandomWalk(VIDEOS)
    walk.init_from_statistics(seen_items(positives))
    return walk


def start_positions(positives: Sequence[set[int]]) -> tuple[Tensor, Tensor]:
    """Return the positives of each user as `forward` reads them.

    Padding holds a video that must not count.
    """
    longest = max(map(len, positives))
    row_BT = torch.tensor(
        [[*sorted(user_rows), *[3] * (longest - len(user_rows))] for user_rows in positives]
    ).long()
    mask_BT = torch.arange(longest) < torch.tensor([[len(user_rows)] for user_rows in positives])
    return row_BT.view(mask_BT.shape), mask_BT


@given(graphs)
def test_the_lift_equals_the_dense_random_walk(positives: list[set[int]]) -> None:
    positive_UI = np.zeros((len(positives), VIDEOS))
    for user, user_rows in enumerate(positives):
        positive_UI[user, sorted(user_rows)] = 1
    by_video = positive_UI.T / np.maximum(positive_UI.sum(0)[:, None], 1)
    by_user = positive_UI / np.maximum(positive_UI.sum(1)[:, None], 1)
    reached_UI = by_user @ np.linalg.matrix_power(by_video @ by_user, WALK_ROUNDS)
    popularity_I = positive_UI.sum(0) / max(positive_UI.sum(), 1)
    lift_BI = fit_walk(positives)(*start_positions(positives)).numpy()
    for user, user_rows in enumerate(positives):
        for row in range(VIDEOS):
            expected = 0.0
            if popularity_I[row] and user_rows:
                expected = np.log(
                    (reached_UI[user, row] / popularity_I[row] + POPULARITY_WEIGHT) / (1 + POPULARITY_WEIGHT)
                )
            assert lift_BI[user, row] == pytest.approx(expected, abs=1e-5)


@given(graphs, st.integers(1, VIDEOS))
def test_pruned_walks_keep_total_probability_1(positives: list[set[int]], num_neighbours: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random_walk, "NUM_NEIGHBOURS", num_neighbours)
        walk = fit_walk(positives)
    lift_BI = walk(*start_positions(positives))
    popularity_I = walk.num_positives_I / walk.num_positives_I.sum().clamp(min=1)
    if walk.num_positives_I.any():
        assert (popularity_I * lift_BI.exp()).sum(1).tolist() == pytest.approx(
            [1.0] * len(positives), abs=1e-5
        )


def model_with_walk(weight: float) -> InterestModel:
    model = make_model(random_walk_weight=weight)
    if model.random_walk is not None:
        model.random_walk.init_from_statistics(
            known_positives_by_user(make_sequences((8, 8, 8), seed=5), make_item_table().id_row_V)
        )
    return model


def test_the_lift_is_added_for_known_videos_at_inference() -> None:
    sequences, items = make_sequences(), model_with_walk(0.5).encode_items(make_item_table())
    batch = sequences.padded_batch(torch.arange(4), 8)
    plain, with_walk = (
        (each, each.encode_user(batch, make_profiles(), items))
        for each in (model_with_walk(0.0), model_with_walk(0.5))
    )
    added_BV = with_walk[0].score_items(with_walk[1], items)[0] - plain[0].score_items(plain[1], items)[0]
    assert with_walk[1].random_walk_NX is not None
    assert torch.allclose(added_BV[:, :9], with_walk[1].random_walk_NX[:, :9], atol=1e-5)
    assert with_walk[1].random_walk_NX[1:].abs().max() > 0.1
    assert not added_BV[:, 9:].any()
    assert with_walk[0].encode_sequence(batch, make_profiles(), items).random_walk_NX is None


def test_a_saved_walk_scores_the_same_in_both_rankings(tmp_path) -> None:
    model = model_with_walk(500.0)
    save_bundle(tmp_path, model)
    sequences = make_sequences()
    nothing = SeenItems(torch.zeros(5, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    scorer = Scorer(load_bundle(tmp_path), make_item_table(), UserData(sequences, make_profiles(), nothing))
    best_B = torch.cat(
        [score_BV.argmax(1) for _, score_BV, _ in score_in_chunks(scorer, torch.arange(4), final=False)]
    )
    assert mean_ndcg(scorer, Targets(torch.arange(4), best_B), 1) == 1.0
    plain = Scorer(model_with_walk(0.0), make_item_table(), scorer.user_data)
    assert mean_ndcg(plain, Targets(torch.arange(4), best_B), 1) < 1.0
