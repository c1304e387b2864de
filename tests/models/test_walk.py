"""The walk over who liked what: what it counts, and what it adds to scores."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models import walk
from models.bundle import load_bundle, save_bundle
from models.histories import Seen
from models.interest import InterestModel
from models.likes import known_likes
from models.scoring import Scorer, Targets, chunks, mean_ndcg
from models.training import People
from models.walk import ANYWHERE, ROUNDS, Walk
from tests.models.worlds import catalogue, histories, model, profiles

VIDEOS = 7
graphs = st.lists(st.sets(st.integers(0, VIDEOS - 1)), min_size=1, max_size=6)


def seen(likes: Sequence[set[int]]) -> Seen:
    rows = [row for mine in likes for row in sorted(mine)]
    return Seen(torch.tensor([0, *map(len, likes)]).cumsum(0), torch.tensor(rows, dtype=torch.long))


def walked(likes: Sequence[set[int]]) -> Walk:
    made = Walk(VIDEOS)
    made.start_from(seen(likes))
    return made


def started(likes: Sequence[set[int]]) -> tuple[Tensor, Tensor]:
    """Everybody's likes as `forward` takes them; what stands in the padding is no video to start from."""
    longest = max(map(len, likes))
    row_BT = torch.tensor([[*sorted(mine), *[3] * (longest - len(mine))] for mine in likes]).long()
    mask_BT = torch.arange(longest) < torch.tensor([[len(mine)] for mine in likes])
    return row_BT.view(mask_BT.shape), mask_BT


@given(graphs)
def test_the_lift_is_that_of_the_plain_chain_from_video_to_person_to_video(likes: list[set[int]]) -> None:
    liked_UI = np.zeros((len(likes), VIDEOS))
    for user, mine in enumerate(likes):
        liked_UI[user, sorted(mine)] = 1
    by_video = liked_UI.T / np.maximum(liked_UI.sum(0)[:, None], 1)
    by_user = liked_UI / np.maximum(liked_UI.sum(1)[:, None], 1)
    end_UI = by_user @ np.linalg.matrix_power(by_video @ by_user, ROUNDS)
    often_I = liked_UI.sum(0) / max(liked_UI.sum(), 1)
    lift_BI = walked(likes)(*started(likes)).numpy()
    for user, mine in enumerate(likes):
        for row in range(VIDEOS):
            expected = 0.0
            if often_I[row] and mine:
                expected = np.log((end_UI[user, row] / often_I[row] + ANYWHERE) / (1 + ANYWHERE))
            assert lift_BI[user, row] == pytest.approx(expected, abs=1e-5)


@given(graphs, st.integers(1, VIDEOS))
def test_however_few_ends_are_kept_a_walk_ends_somewhere(likes: list[set[int]], near: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "NEAR", near)
        made = walked(likes)
    lift_BI = made(*started(likes))
    often_I = made.liked_I / made.liked_I.sum().clamp(min=1)
    if made.liked_I.any():
        assert (often_I * lift_BI.exp()).sum(1).tolist() == pytest.approx([1.0] * len(likes), abs=1e-5)


def walking(weight: float) -> InterestModel:
    made = model(walk=weight)
    if made.walk is not None:
        made.walk.start_from(known_likes(histories((8, 8, 8), seed=5), catalogue().id_row_V))
    return made


def test_the_weighed_lift_is_added_for_videos_of_training_and_never_while_training() -> None:
    past, items = histories(), walking(0.5).items(catalogue())
    batch = past.batch(torch.arange(4), 8)
    plain, found = ((one, one.newest(batch, profiles(), items)) for one in (walking(0.0), walking(0.5)))
    added_BV = found[0].scores(found[1], items)[0] - plain[0].scores(plain[1], items)[0]
    assert found[1].lift_NX is not None
    assert torch.allclose(added_BV[:, :9], found[1].lift_NX[:, :9], atol=1e-5)
    assert found[1].lift_NX[1:].abs().max() > 0.1
    assert not added_BV[:, 9:].any()
    assert found[0].read(batch, profiles(), items).lift_NX is None


def test_a_saved_walk_scores_the_same_in_the_dense_form_and_in_the_fast_one(tmp_path) -> None:
    made = walking(500.0)
    save_bundle(tmp_path, made)
    past = histories()
    nothing = Seen(torch.zeros(5, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    scorer = Scorer(load_bundle(tmp_path), catalogue(), People(past, profiles(), nothing))
    best_B = torch.cat(
        [score_BV.argmax(1) for _, score_BV, _ in chunks(scorer, torch.arange(4), rerank=False)]
    )
    assert mean_ndcg(scorer, Targets(torch.arange(4), best_B), 1) == 1.0
    plain = Scorer(walking(0.0), catalogue(), scorer.people)
    assert mean_ndcg(plain, Targets(torch.arange(4), best_B), 1) < 1.0
