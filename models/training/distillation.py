"""Distillation: a student learns the final order of a teacher and the true targets.

The teacher ranks the catalogue as it is served: retrieval, final ranker, re-ranking. The student gets the
teacher's best videos as soft targets, −Σ_k p_k log q_k. p is the softmax of the teacher's final scores over
these videos, and q that of the student's scores over all candidates (Hinton et al. 2015, arXiv 1503.02531).
Only the best K count, as in ranking distillation (Tang & Wang, KDD 2018, arXiv 1809.07428). The temperature
is 1, because final scores are logits of a choice (models/ranking/final_ranker.py).
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from models.data.sequences import SequenceBatch
from models.evaluation.scoring import Scorer
from models.interest_model import InterestModel
from models.retrieval.full_ranking import top_k, users_per_chunk

TEACHER_K = 100  # videos of a teacher's ranking that the student learns
NUM_STATES = 2  # states of each user that the teacher ranks for: the newest, and earlier ones


@dataclass(frozen=True)
class TeacherRankings:
    """The teacher's best videos for some users, at S states of each.

    Attributes:
        users_U: The users, sorted.
        length_US: Number of oldest events of the user's batch that the state knows.
        row_USK: Rows of the best videos, best first.
        p_USK: Probability of each. 0 for an empty entry, if the user has watched almost all videos.
        available_V: Bool, the videos that were ranked.
    """

    users_U: Tensor
    length_US: Tensor
    row_USK: Tensor
    p_USK: Tensor
    available_V: Tensor


@torch.no_grad()
def rank_by_teacher(teacher: Scorer, users: Tensor, seed: int) -> TeacherRankings:
    """Rank the available videos for these users by the teacher.

    Args:
        teacher: The teacher, with what is known before the day that the student will serve.
        users: Sorted users that have a sequence.
        seed: Of the drawn states.
    """
    length_US = _draw_lengths(teacher, users, seed)
    items: Any = teacher.model.eval().encode_items(teacher.item_table)
    rows, probabilities = [], []
    for index_b in torch.arange(len(users)).split(users_per_chunk(len(items))):
        views = [_rank_states(teacher, items, users[index_b], length_b) for length_b in length_US[index_b].T]
        rows.append(torch.stack([row_bK for row_bK, _ in views], 1))
        probabilities.append(torch.stack([p_bK for _, p_bK in views], 1))
    return TeacherRankings(users, length_US, torch.cat(rows), torch.cat(probabilities), teacher.available)


def _draw_lengths(teacher: Scorer, users: Tensor, seed: int) -> Tensor:
    """Return the lengths of the states of each user: all events, then drawn numbers of at least one event."""
    random = torch.Generator().manual_seed(seed)
    longest_U = teacher.user_data.sequences.lengths[users].clamp(max=teacher.model.config.max_length)
    drawn_US = torch.rand(len(users), NUM_STATES - 1, generator=random).to(longest_U.device)
    return torch.cat([longest_U[:, None], 1 + (drawn_US * longest_U[:, None]).long()], 1)


def _rank_states(teacher: Scorer, items: Any, users_B: Tensor, length_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return the teacher's best videos at one state of each user, row_BK, and their probabilities p_BK."""
    model, batch = teacher.model, truncate(teacher.batch(users_B), length_B)
    state = model.encode_user(batch, teacher.user_data.profiles.select(users_B), items)
    score_BV, _ = model.score_items(state, items)
    score_BV = model.final_scores(score_BV, items, batch, teacher.item_table, teacher.day)
    score_BV = score_BV.masked_fill(hidden_videos(batch, teacher.available), -torch.inf)
    score_BV = model.rerank(state, items, score_BV)
    row_BK = top_k(score_BV, min(TEACHER_K, len(items)))
    return row_BK, score_BV.gather(1, row_BK).softmax(1).nan_to_num(0.0)


def truncate(batch: SequenceBatch, length_B: Tensor) -> SequenceBatch:
    """Return the oldest `length_B` events of each user in the batch."""
    position_T = torch.arange(batch.mask_BT.shape[1])
    return replace(batch, mask_BT=batch.mask_BT & (position_T < length_B[:, None]))


def hidden_videos(batch: SequenceBatch, available_V: Tensor) -> Tensor:
    """Bool [B, V]: videos of the batch's events, and those that are not available."""
    hidden_BV = (~available_V).repeat(len(batch.mask_BT), 1)
    user_E, position_E = batch.mask_BT.nonzero(as_tuple=True)
    hidden_BV[user_E, batch.video_BT[user_E, position_E]] = True
    return hidden_BV


def distillation_loss(student: Scorer, rankings: TeacherRankings, users_B: Tensor) -> Tensor:
    """Return the cross-entropy of the student with the teacher, as a mean over these users.

    One state of each user is drawn.

    Args:
        student: The student, with the teacher's videos and users.
        rankings: Of the teacher.
        users_B: Users that the teacher has ranked for.
    """
    model, batch = student.model, student.batch(users_B)
    assert isinstance(model, InterestModel)
    index_B = torch.searchsorted(rankings.users_U, users_B)
    view_B = torch.randint(rankings.length_US.shape[1], index_B.shape)
    batch = truncate(batch, rankings.length_US[index_B, view_B])
    items = model.encode_items(student.item_table)
    state = model.encode_user(batch, student.user_data.profiles.select(users_B), items)
    score_BV, _ = model.score_items(state, items)
    # Finite, so that a user without any candidate has finite gradients. All p of this user are 0.
    hidden_BV, lowest = hidden_videos(batch, rankings.available_V), torch.finfo(score_BV.dtype).min
    log_q_BV = score_BV.masked_fill(hidden_BV, lowest).log_softmax(1)
    log_q_BK = log_q_BV.gather(1, rankings.row_USK[index_B, view_B])
    return -(rankings.p_USK[index_B, view_B] * log_q_BK).sum(1).mean()
