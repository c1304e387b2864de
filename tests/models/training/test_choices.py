"""The choices of a day: who may choose what, and that a sample stands for all videos."""

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from models.data.folds import Fold
from models.data.items import ItemTable
from models.data.sequences import SeenItems
from models.data.targets import Targets
from models.data.users import UserData
from models.evaluation import scoring
from models.evaluation.scoring import Scorer, average_users
from models.ranking.final_ranker import ChoiceData
from models.training import choices
from models.training.choices import add_sequence_scores, collect_choices
from tests.support.model_inputs import (
    make_item_table,
    make_model,
    make_profiles,
    make_sequences,
    make_user_data,
)

USERS, VIDEOS, DAY = 6, 40, 20
TARGETS = Targets(torch.tensor([1, 1, 3, 4]), torch.tensor([5, 7, 5, 30]))
SCORE_SUV = torch.randn(2, USERS, VIDEOS, generator=torch.Generator().manual_seed(3))
LENGTHS = (0, 1, 5, 8, 12, 60)


def score(users_B: Tensor) -> Tensor:
    return SCORE_SUV[:, users_B]


def make_fold(seen: dict[int, list[int]] | None = None, withdrawn: tuple[int, ...] = ()) -> Fold:
    """A day with four targets. Videos 0 to 9 are uploaded on it, and 38 and 39 on the day after it."""
    seen = seen or {}
    rows = [seen.get(user, []) for user in range(USERS)]
    offsets = torch.tensor([0, *map(len, rows)]).cumsum(0)
    items = ItemTable(
        modality_features={},
        has_VM=torch.zeros(VIDEOS, 0, dtype=torch.bool),
        id_row_V=torch.arange(VIDEOS),
        upload_day_V=torch.tensor([DAY] * 10 + [0] * 28 + [DAY + 1] * 2),
        available_until_V=torch.tensor([DAY - 1 if row in withdrawn else DAY for row in range(VIDEOS)]),
    )
    seen_items = SeenItems(offsets, torch.tensor([row for user in rows for row in user], dtype=torch.long))
    users = UserData(make_sequences(LENGTHS, videos=VIDEOS), make_profiles(USERS), seen_items)
    return Fold(DAY, items, users, TARGETS)


def video_rows(data: ChoiceData) -> list[int]:
    """The videos that the users choose from, by their scores."""
    return [int((SCORE_SUV[0, 1] == score).nonzero()) for score in data.source_SBC[0, 0]]


def test_users_with_a_target_choose_from_all_available_videos() -> None:
    data = collect_choices(score, make_fold(withdrawn=(11, 12)), seed=1)
    assert video_rows(data) == [row for row in range(38) if row not in (11, 12)]
    assert torch.equal(data.source_SBC, SCORE_SUV[:, [1, 3, 4]][:, :, video_rows(data)])
    assert data.is_candidate_BC.all()
    assert not data.log_weight_C.any()
    chosen = [[video_rows(data)[c] for c in row.nonzero().squeeze(1)] for row in data.is_target_BC]
    assert chosen == [[5, 7], [5], [30]]


def test_seen_videos_are_no_candidates_of_that_user() -> None:
    data = collect_choices(score, make_fold(seen={3: [0, 7, 39], 5: [1]}), seed=1)
    hidden = [[video_rows(data)[c] for c in (~row).nonzero().squeeze(1)] for row in data.is_candidate_BC]
    assert hidden == [[], [0, 7], []]


def test_activity_and_age_are_of_the_users_and_videos() -> None:
    data = collect_choices(score, make_fold(), seed=1)
    assert data.activity_B.tolist() == [1, 1, 2]  # 1, 8 and 12 interactions
    assert data.age_C.tolist() == [0] * 10 + [4] * 28
    limited = collect_choices(score, make_fold(), seed=1, max_length=9)
    assert limited.activity_B.tolist() == [1, 1, 1]


def test_a_sample_holds_all_targets_and_its_weights_sum_to_all_videos(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choices, "MAX_SAMPLED_VIDEOS", 7)
    data = collect_choices(score, make_fold(), seed=1)
    rows = video_rows(data)
    assert {5, 7, 30} < set(rows)
    assert len(rows) == len(set(rows)) == 3 + 7
    weight = dict(zip(rows, data.log_weight_C.exp().tolist(), strict=True))
    assert [weight[row] for row in (5, 7, 30)] == [1.0] * 3
    assert sum(weight.values()) == pytest.approx(38)
    assert data.is_target_BC.sum() == len(TARGETS.user_P)


def test_the_denominator_of_the_softmax_keeps_its_expected_value(monkeypatch: pytest.MonkeyPatch) -> None:
    def denominators(seed: int) -> Tensor:
        data = collect_choices(score, make_fold(seen={3: [1, 2, 3, 20]}), seed)
        return (data.source_SBC[0] + data.log_weight_C).exp().where(data.is_candidate_BC, 0.0).sum(1)

    exact_B = denominators(0)
    monkeypatch.setattr(choices, "MAX_SAMPLED_VIDEOS", 7)
    sampled_NB = torch.stack([denominators(seed) for seed in range(600)])
    error_B = sampled_NB.std(0) / 600**0.5
    assert error_B.max() < 0.05 * exact_B.min()
    assert ((sampled_NB.mean(0) - exact_B).abs() < 4 * error_B).all()


def test_samples_follow_from_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "MAX_SAMPLED_VIDEOS", 7)
    torch.manual_seed(1)
    first, other = (collect_choices(score, make_fold(), seed) for seed in (1, 2))
    torch.manual_seed(2)
    again = collect_choices(score, make_fold(), seed=1)
    for field in fields(ChoiceData):
        assert torch.equal(getattr(first, field.name), getattr(again, field.name))
    assert video_rows(first) != video_rows(other)


def test_users_are_sampled_with_their_own_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "MAX_USERS", 2)
    targets = {1: {5, 7}, 3: {5}, 4: {30}}
    sampled = set()
    for seed in range(20):
        data = collect_choices(score, make_fold(), seed)
        users = [int((SCORE_SUV[0, :, 10] == row[10]).nonzero()) for row in data.source_SBC[0]]
        sampled |= {tuple(users)}
        chosen = [set(row.nonzero().squeeze(1).tolist()) for row in data.is_target_BC]
        assert chosen == [targets[user] for user in users]
    assert sampled == {(1, 3), (1, 4), (3, 4)}


def test_many_targets_leave_fewer_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "MAX_TARGETS", 2)  # user 1 has two, users 3 and 4 have one
    sampled = {tuple(collect_choices(score, make_fold(), seed).users_B.tolist()) for seed in range(20)}
    assert sampled == {(1,), (3,), (4,), (3, 4)}
    monkeypatch.setattr(choices, "MAX_TARGETS", 1)
    assert all(len(collect_choices(score, make_fold(), seed).users_B) == 1 for seed in range(9))


def test_chunks_of_users_do_not_change_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    fold = make_fold(seen={3: [0], 4: [1]})
    whole = collect_choices(score, fold, seed=1)
    monkeypatch.setattr(choices, "users_per_chunk", lambda num_videos: 2)
    chunked = collect_choices(score, fold, seed=1)
    assert all(torch.equal(getattr(whole, f.name), getattr(chunked, f.name)) for f in fields(ChoiceData))


def test_a_day_without_targets_has_no_choices() -> None:
    nothing = Targets(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    data = collect_choices(score, replace(make_fold(), targets=nothing), seed=1)
    assert data.is_target_BC.shape[0] == 0


@pytest.mark.parametrize("fusion", ["user", "late"])
def test_sequence_scores_are_personal_and_each_user_is_encoded_once(
    monkeypatch: pytest.MonkeyPatch, fusion: str
) -> None:
    monkeypatch.setattr(scoring, "AVERAGED_USERS", 2)  # so that some users choose and are not averaged
    model, items, users = make_model(fusion=fusion).eval(), make_item_table(), make_user_data()
    day = replace(
        collect_choices(score, make_fold(), seed=1),
        users_B=torch.tensor([3, 0, 2]),
        rows_C=torch.tensor([1, 4, 7]),
        source_SBC=torch.zeros(1, 3, 3),
    )
    encoded: list[Tensor] = []
    encode_user = Scorer.encode_user

    def count(scorer: Scorer, users_B: Tensor, items: object) -> object:
        encoded.append(users_B)
        return encode_user(scorer, users_B, items)

    with monkeypatch.context() as context:
        context.setattr(Scorer, "encode_user", count)
        [result] = add_sequence_scores(model, [Fold(DAY, items, users, TARGETS)], [day])
    scorer = Scorer(model, items, users)
    embedded = model.encode_items(items)
    score_BV, _ = model.score_items(scorer.encode_user(day.users_B, embedded), embedded)
    lengths_B = users.sequences.lengths[day.users_B]
    expected_BV = model.personal_scores(score_BV, lengths_B, embedded, average_users(scorer))
    assert torch.allclose(result.source_SBC[0], expected_BV[:, day.rows_C], atol=1e-5)
    assert torch.equal(result.source_SBC[1:], day.source_SBC)
    assert torch.cat(encoded).tolist() == [0, 1, 2, 3]
