"""The final ranker: it recovers planted weights, and nothing that it is given makes it worse."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.ranking.final_ranker import (
    NUM_ACTIVITY_GROUPS,
    NUM_AGE_GROUPS,
    ChoiceData,
    FinalRanker,
    activity_groups,
    age_groups,
)

USERS, VIDEOS = 400, 60
WEIGHTS = (1.0, 0.0, 0.5)


def planted(
    weights: Sequence[float] = WEIGHTS,
    users: int = USERS,
    seed: int = 0,
    activity_weight_GS: Tensor | None = None,
    age_bias_H: Tensor | None = None,
) -> ChoiceData:
    """Each user draws one video from the softmax over the weighted sources."""
    generator = torch.Generator().manual_seed(seed)
    source_SBC = torch.randn(len(weights), users, VIDEOS, generator=generator)
    activity_B = torch.arange(users) % NUM_ACTIVITY_GROUPS
    age_C = torch.arange(VIDEOS) % NUM_AGE_GROUPS
    weight_BS = torch.tensor(weights).expand(users, -1)
    if activity_weight_GS is not None:
        weight_BS = weight_BS * activity_weight_GS[activity_B].exp()
    logit_BC = torch.einsum("sbc,bs->bc", source_SBC, weight_BS)
    if age_bias_H is not None:
        logit_BC = logit_BC + age_bias_H[age_C]
    chosen_B1 = logit_BC.softmax(1).multinomial(1, generator=generator)
    return ChoiceData(
        users_B=torch.arange(users),
        rows_C=torch.arange(VIDEOS),
        source_SBC=source_SBC,
        activity_B=activity_B,
        age_C=age_C,
        is_target_BC=torch.zeros(users, VIDEOS, dtype=torch.bool).scatter(1, chosen_B1, True),
        is_candidate_BC=torch.ones(users, VIDEOS, dtype=torch.bool),
        log_weight_C=torch.zeros(VIDEOS),
    )


def fitted(*data: ChoiceData) -> FinalRanker:
    ranker = FinalRanker(len(data[0].source_SBC))
    ranker.fit(data)
    return ranker


def with_source(data: ChoiceData, source_BC: Tensor) -> ChoiceData:
    return replace(data, source_SBC=torch.cat([data.source_SBC, source_BC[None]]))


def scores(ranker: FinalRanker, data: ChoiceData) -> Tensor:
    return ranker(data.source_SBC, data.activity_B, data.age_C)


def mean_reciprocal_rank(score_BC: Tensor, data: ChoiceData) -> float:
    target_B1 = data.is_target_BC.int().argmax(1, keepdim=True)
    return float((1 / ((score_BC >= score_BC.gather(1, target_B1)).sum(1))).mean())


def test_an_unfitted_ranker_uses_the_first_source_only() -> None:
    data = planted()
    assert torch.equal(scores(FinalRanker(3), data), data.source_SBC[0])


def test_planted_weights_are_recovered() -> None:
    ranker = fitted(planted(users=3000))
    assert torch.allclose(ranker.weight_S, torch.tensor(WEIGHTS), atol=0.07)
    assert ranker.activity_weight_GS.abs().max() < 0.1
    assert ranker.age_weight_HS.abs().max() < 0.1
    assert ranker.age_bias_H.abs().max() < 0.15


def test_a_source_that_points_the_wrong_way_is_left_out() -> None:
    ranker = fitted(planted((1.0, -0.5), users=3000))
    assert ranker.weight_S[1] == 0
    assert ranker.weight_S[0] > 0.8


def test_planted_weights_of_groups_are_recovered() -> None:
    activity_weight_GS = torch.zeros(NUM_ACTIVITY_GROUPS, 2)
    activity_weight_GS[0], activity_weight_GS[3] = torch.tensor([-0.7, 0.7]), torch.tensor([0.7, -0.7])
    age_bias_H = torch.tensor([2.0, 0.0, 0.0, 0.0, -2.0])
    ranker = fitted(planted((1.0, 1.0), 3000, 0, activity_weight_GS, age_bias_H))
    weight_GS = ranker.weight_S * ranker.activity_weight_GS.exp()
    assert torch.allclose(weight_GS, activity_weight_GS.exp(), atol=0.2)
    difference_H = ranker.age_bias_H - ranker.age_bias_H[1]
    assert torch.allclose(difference_H[[0, 4]], age_bias_H[[0, 4]], atol=0.35)


def test_groups_share_their_weights_without_much_data() -> None:
    activity_weight_GS = torch.zeros(NUM_ACTIVITY_GROUPS, 2)
    activity_weight_GS[0], activity_weight_GS[3] = torch.tensor([-0.7, 0.7]), torch.tensor([0.7, -0.7])
    deviations = [
        fitted(planted((1.0, 1.0), users, 0, activity_weight_GS)).activity_weight_GS.abs().max()
        for users in (8, 40, 3000)
    ]
    assert deviations[0] < 0.25 < deviations[1] < 0.75 < deviations[2]


@pytest.mark.parametrize("seed", range(4))
def test_sources_of_noise_do_not_make_the_ranking_worse(seed: int) -> None:
    train, test = (planted((1.5, 0.0, 0.0, 0.0), 1500, 2 * seed + part) for part in (0, 1))
    alone = mean_reciprocal_rank(test.source_SBC[0], test)
    assert mean_reciprocal_rank(scores(fitted(train), test), test) > alone - 0.01
    assert alone > mean_reciprocal_rank(test.source_SBC[1], test) + 0.1


def test_a_fitted_ranker_is_better_than_each_source() -> None:
    train, test = planted((1.0, 1.0), seed=1), planted((1.0, 1.0), seed=2)
    combined = mean_reciprocal_rank(scores(fitted(train), test), test)
    assert combined > max(mean_reciprocal_rank(source_BC, test) for source_BC in test.source_SBC) + 0.05


@pytest.mark.parametrize("spread", [0.0, 1e-8], ids=["exactly", "up to rounding"])
def test_a_constant_source_is_harmless(spread: float) -> None:
    data, noise_BC = planted(), torch.randn(USERS, VIDEOS, generator=torch.Generator().manual_seed(9))
    constant = with_source(data, spread * noise_BC)
    ranker = fitted(constant)
    assert torch.allclose(scores(ranker, constant), scores(fitted(data), data), atol=0.01)
    moved = with_source(data, noise_BC)
    assert torch.allclose(scores(ranker, moved), scores(ranker, constant)), "it may vary on another day"


@pytest.mark.parametrize("data", [[], [planted()]], ids=["no day", "no positive"])
def test_without_targets_nothing_changes(data: list[ChoiceData]) -> None:
    data = [replace(day, is_target_BC=torch.zeros_like(day.is_target_BC)) for day in data]
    ranker = fitted(planted())
    before = {name: tensor.clone() for name, tensor in ranker.state_dict().items()}
    ranker.fit(data)
    assert all(torch.equal(tensor, before[name]) for name, tensor in ranker.state_dict().items())


def test_a_day_without_targets_is_left_out() -> None:
    data, other = planted(), planted(seed=5)
    other = replace(other, is_target_BC=torch.zeros_like(other.is_target_BC))
    assert torch.equal(fitted(data, other).weight_S, fitted(data).weight_S)


def test_every_day_counts() -> None:
    first, second = planted((1.0, 0.0)), planted((0.0, 1.0), seed=5)
    weight_S = fitted(first, second).weight_S
    assert torch.allclose(weight_S, torch.tensor([0.45, 0.45]), atol=0.15)


def test_every_user_counts_the_same() -> None:
    """Half of the users have five targets by the first source, the others one by the second."""
    data, generator = planted(users=800), torch.Generator().manual_seed(1)
    many_B = torch.arange(800) // NUM_ACTIVITY_GROUPS % 2 == 0  # half of each group
    logit_BC = torch.where(many_B[:, None], 1.5 * data.source_SBC[0], 1.5 * data.source_SBC[1])
    chosen_B5 = logit_BC.softmax(1).multinomial(5, generator=generator)
    chosen_B5 = torch.where(many_B[:, None], chosen_B5, chosen_B5[:, :1])
    is_target_BC = torch.zeros_like(data.is_target_BC).scatter(1, chosen_B5, True)
    first, second, _ = fitted(replace(data, is_target_BC=is_target_BC)).weight_S.tolist()
    assert first == pytest.approx(second, abs=0.15)
    assert first > 0.4


def test_videos_that_are_no_candidates_are_not_chosen_from() -> None:
    data = planted()
    hidden_BC = (torch.arange(USERS)[:, None] + torch.arange(VIDEOS)) % 3 == 0
    hidden_BC &= ~data.is_target_BC
    noise_SBC = torch.where(hidden_BC, 1e4, data.source_SBC)
    noisy = replace(data, source_SBC=noise_SBC, is_candidate_BC=~hidden_BC)
    clean = replace(data, is_candidate_BC=~hidden_BC)
    assert torch.allclose(fitted(noisy).weight_S, fitted(clean).weight_S, atol=1e-4)


def test_a_sampled_video_counts_for_those_that_it_stands_for() -> None:
    """A video of weight 5 gives the ranker of five equal videos."""
    data = planted(users=30)
    other_C = ~data.is_target_BC.any(0)
    copies_C = torch.where(other_C, 5, 1)
    assert 10 < other_C.sum() < 50
    data = replace(data, age_C=torch.zeros_like(data.age_C))
    weighted = replace(data, log_weight_C=copies_C.log())
    rows_C = torch.arange(VIDEOS).repeat_interleave(copies_C)
    repeated = replace(
        data,
        source_SBC=data.source_SBC[:, :, rows_C],
        age_C=data.age_C[rows_C],
        is_target_BC=data.is_target_BC[:, rows_C],
        is_candidate_BC=data.is_candidate_BC[:, rows_C],
        log_weight_C=data.log_weight_C[rows_C],
    )
    expected, with_weights, without = (
        score_BC - score_BC.mean(1, keepdim=True)
        for score_BC in (scores(fitted(each), data) for each in (repeated, weighted, data))
    )
    assert torch.allclose(with_weights, expected, atol=0.05)
    assert not torch.allclose(without, expected, atol=0.1)


@settings(max_examples=15)
@given(
    shift=st.floats(-100, 100),
    scale=st.floats(0.01, 100),
    source=st.integers(0, 2),
    seed=st.integers(0, 5),
)
def test_shift_and_scale_of_a_source_do_not_change_the_ranker(
    shift: float, scale: float, source: int, seed: int
) -> None:
    data = planted(users=100, seed=seed)
    changed_SBC = data.source_SBC.clone()
    changed_SBC[source] = changed_SBC[source] * scale + shift
    changed = replace(data, source_SBC=changed_SBC)
    assert torch.allclose(scores(fitted(changed), changed), scores(fitted(data), data), atol=0.01)


def test_groups_begin_at_their_bounds() -> None:
    assert activity_groups(torch.tensor([0, 1, 9, 10, 49, 50, 900])).tolist() == [0, 1, 1, 2, 2, 3, 3]
    upload_day_V = torch.tensor([20, 19, 18, 17, 16, 12, 0, 21])
    assert age_groups(upload_day_V, 20, 8).tolist() == [0, 1, 2, 2, 3, 4, 4, 0]


def test_videos_of_unknown_age_are_in_the_oldest_group() -> None:
    oldest = [NUM_AGE_GROUPS - 1] * 2
    assert age_groups(None, 20, 2).tolist() == age_groups(torch.tensor([1, 2]), None, 2).tolist() == oldest
