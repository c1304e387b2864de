"""Distillation: what the teacher ranks, and that the loss moves a student towards it."""

from dataclasses import replace

import pytest
import torch

from models.data.sequences import SequenceBatch
from models.evaluation.scoring import Scorer, score_in_chunks
from models.retrieval.full_ranking import top_k
from models.training.distillation import (
    TeacherRankings,
    distillation_loss,
    hidden_videos,
    rank_by_teacher,
    truncate,
)
from tests.support.model_inputs import make_item_table, make_model, make_user_data

LENGTHS = (0, 1, 5, 8)
USERS = torch.tensor([1, 2, 3])


def _scorer(**changes: object) -> Scorer:
    return Scorer(make_model(**changes), make_item_table(), make_user_data(LENGTHS))


@pytest.fixture(scope="module")
def teacher() -> Scorer:
    return _scorer(fusion="user")


@pytest.fixture(scope="module")
def rankings(teacher: Scorer) -> TeacherRankings:
    return rank_by_teacher(teacher, USERS, seed=1)


def test_the_newest_state_has_the_ranking_that_the_teacher_serves(
    teacher: Scorer, rankings: TeacherRankings
) -> None:
    ((_, score_BV, _),) = score_in_chunks(teacher, USERS)
    assert rankings.length_US[:, 0].tolist() == [1, 5, 8]
    assert torch.equal(rankings.row_USK[:, 0], top_k(score_BV, score_BV.shape[1]))
    assert torch.allclose(rankings.p_USK[:, 0], score_BV.gather(1, rankings.row_USK[:, 0]).softmax(1))
    retrieved = next(iter(score_in_chunks(teacher, USERS, final=False)))[1]
    assert (top_k(retrieved, 3) != rankings.row_USK[:, 0, :3]).any(), "re-ranking must be part of the order"


def test_a_watched_video_has_no_probability(teacher: Scorer, rankings: TeacherRankings) -> None:
    batch = truncate(teacher.batch(USERS), rankings.length_US[:, 1])
    for user in range(len(USERS)):
        watched = set(batch.video_BT[user][batch.mask_BT[user]].tolist())
        shown = rankings.row_USK[user, 1][rankings.p_USK[user, 1] > 0].tolist()
        assert watched.isdisjoint(shown)
        assert len(watched) + len(shown) == 12


def test_an_earlier_state_does_not_know_later_events(teacher: Scorer) -> None:
    sequences = teacher.user_data.sequences
    later = replace(sequences, video_E=sequences.video_E.clone())
    later.video_E[-1] = (later.video_E[-1] + 1) % 12  # the newest event of the last user
    changed = replace(teacher, user_data=replace(teacher.user_data, sequences=later))
    one, other = (rank_by_teacher(scorer, USERS, seed=4) for scorer in (teacher, changed))
    assert one.length_US[2, 1] < 8, "the drawn state must be an earlier one"
    assert torch.equal(one.p_USK[:, 1], other.p_USK[:, 1])
    assert not torch.equal(one.p_USK[2, 0], other.p_USK[2, 0])


def test_the_loss_is_the_cross_entropy_with_the_teacher(teacher: Scorer, rankings: TeacherRankings) -> None:
    newest = replace(
        rankings,
        length_US=rankings.length_US[:, :1],
        row_USK=rankings.row_USK[:, :1],
        p_USK=rankings.p_USK[:, :1],
    )
    student = _scorer(fusion="uniform", encoder="mean", rerank={"candidates": 0})
    loss = distillation_loss(student, newest, USERS)
    ((_, score_BV, _),) = score_in_chunks(student, USERS)
    p_BV = torch.zeros_like(score_BV).scatter(1, newest.row_USK[:, 0], newest.p_USK[:, 0])
    log_q_BV = score_BV.log_softmax(1)
    expected = -torch.where(p_BV > 0, p_BV * log_q_BV, 0.0).sum(1).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_training_on_the_loss_gives_the_order_of_the_teacher(
    teacher: Scorer, rankings: TeacherRankings
) -> None:
    student = _scorer(fusion="uniform", encoder="mean", rerank={"candidates": 0})
    optimizer = torch.optim.Adam(student.model.parameters(), lr=0.02)

    def best() -> torch.Tensor:
        return next(iter(score_in_chunks(student, USERS)))[1].argmax(1)

    wanted = rankings.row_USK[:, 0, 0]
    assert not torch.equal(best(), wanted)
    for _ in range(150):
        optimizer.zero_grad()
        distillation_loss(student, rankings, USERS).backward()
        optimizer.step()
    assert torch.equal(best(), wanted)


def test_a_user_without_candidates_gives_finite_gradients(teacher: Scorer) -> None:
    users = replace(teacher.user_data.sequences, video_E=torch.arange(14) % 12)
    all_but_two = torch.zeros(12, dtype=torch.bool)
    hidden = replace(teacher, user_data=replace(teacher.user_data, sequences=users))
    rankings = replace(rank_by_teacher(hidden, USERS, seed=1), available_V=all_but_two)
    rankings = replace(rankings, p_USK=rankings.p_USK * 0)
    loss = distillation_loss(hidden, rankings, USERS)
    loss.backward()
    gradients = [p.grad for p in hidden.model.parameters() if p.grad is not None]
    assert loss.item() == 0.0
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


def test_watched_and_unavailable_videos_are_hidden(teacher: Scorer) -> None:
    batch: SequenceBatch = truncate(teacher.batch(USERS), torch.tensor([1, 1, 2]))
    available_V = torch.ones(12, dtype=torch.bool)
    available_V[7] = False
    hidden_BV = hidden_videos(batch, available_V)
    for user, length in enumerate((1, 1, 2)):
        assert set(hidden_BV[user].nonzero().flatten().tolist()) == {
            7,
            *batch.video_BT[user, :length].tolist(),
        }
