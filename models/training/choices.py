"""The choices of a validation day: the final ranker is fitted on them, and they select the epoch."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from models.data.folds import Fold
from models.data.user_state import concat_states
from models.evaluation.scoring import Scorer, average_users, averaged_users
from models.interest_model import InterestModel
from models.ranking.final_ranker import ChoiceData, activity_groups, age_groups
from models.retrieval.full_ranking import users_per_chunk

MAX_USERS = 1000  # users of a day, sampled if there are more
MAX_TARGETS = 2000  # targets of these users; with more, there are fewer users
MAX_SAMPLED_VIDEOS = 2000  # videos in addition to the targets, sampled if there are more
# Users that are encoded at a time. malloc keeps no larger tensors, and new pages cost a third of the time.
ENCODED_USERS = 256

SourceScoresFn = Callable[[Tensor], Tensor]  # users_B -> source_SBV


@torch.no_grad()
def collect_choices(
    source_scores: SourceScoresFn, fold: Fold, seed: int, max_length: int | None = None
) -> ChoiceData:
    """Return the choices of the users that have a target on the day of a fold.

    All users choose from the same videos: the targets of all, and a sample of the other available videos. A
    sampled video stands for several, so that the denominator of the softmax keeps its expected value.

    Args:
        source_scores: Scores the whole catalogue by every source.
        fold: The day, with what is known before it.
        seed: Of the samples.
        max_length: Newest interactions that the ranker counts when it recommends. None: all.
    """
    random, num_videos = torch.Generator().manual_seed(seed), len(fold.item_table.id_row_V)
    users_B = _sample(fold.targets.users, MAX_USERS, random)
    num_targets_B = torch.bincount(fold.targets.for_users(users_B)[0], minlength=len(users_B))
    shuffled_B = torch.randperm(len(users_B), generator=random)
    is_within_B = num_targets_B[shuffled_B].cumsum(0) <= MAX_TARGETS
    is_within_B[:1] = True
    users_B = users_B[shuffled_B[is_within_B].sort().values]
    length_B = fold.users.sequences.lengths[users_B]
    position_P, row_P = fold.targets.for_users(users_B)
    available_V = fold.available
    others_V = available_V.index_fill(0, row_P, False)
    others_N = others_V.nonzero().squeeze(1)
    sampled_N = _sample(others_N, MAX_SAMPLED_VIDEOS, random)
    rows_C = torch.cat([row_P.unique(), sampled_N]).sort().values
    log_weight_C = torch.zeros(len(rows_C))
    log_weight_C[torch.isin(rows_C, sampled_N)] = float(
        torch.tensor(len(others_N) / max(len(sampled_N), 1)).log()
    )
    is_target_BC = torch.zeros(len(users_B), len(rows_C), dtype=torch.bool)
    is_target_BC[position_P, torch.searchsorted(rows_C, row_P)] = True
    chunks, candidates = [], []
    for users_b in users_B.split(users_per_chunk(num_videos)):
        chunks.append(source_scores(users_b)[:, :, rows_C])
        candidates.append(~fold.users.seen.mask(users_b, num_videos)[:, rows_C])
    return ChoiceData(
        users_B=users_B,
        rows_C=rows_C,
        source_SBC=torch.cat(chunks, 1),
        activity_B=activity_groups(length_B if max_length is None else length_B.clamp(max=max_length)),
        age_C=age_groups(fold.item_table.upload_day_V, fold.day, num_videos)[rows_C],
        is_target_BC=is_target_BC,
        is_candidate_BC=torch.cat(candidates),
        log_weight_C=log_weight_C,
    )


@torch.no_grad()
def add_sequence_scores(
    model: InterestModel, folds: Sequence[Fold], choices: Sequence[ChoiceData]
) -> list[ChoiceData]:
    """Return the choices with the scores of the sequence model as the first source.

    They are personal scores, as in `InterestModel.final_scores`. The average users are those of each day.

    Args:
        model: The model. It is set to evaluation mode.
        folds: The days.
        choices: The choices of each day.
    """
    model.eval()
    return [
        replace(day, source_SBC=torch.cat([_sequence_scores(model, fold, day)[None], day.source_SBC]))
        for fold, day in zip(folds, choices, strict=True)
    ]


def _sequence_scores(model: InterestModel, fold: Fold, choices: ChoiceData) -> Tensor:
    """Return the personal scores of the sequence model, score_BC."""
    items, scorer = model.encode_items(fold.item_table), Scorer(model, fold.item_table, fold.users)
    # Most users that choose are averaged, too. Encoding takes most of a validation, so it is done once.
    averaged = averaged_users(fold.users.sequences)
    users = torch.cat([averaged, choices.users_B]).unique()
    state = concat_states([scorer.encode_user(users_b, items) for users_b in users.split(ENCODED_USERS)])
    average = average_users(scorer, items, state.select(torch.searchsorted(users, averaged)))
    candidates, chunks = items.select(choices.rows_C), []
    for users_b in choices.users_B.split(users_per_chunk(len(choices.rows_C))):
        score_bC, _ = model.score_items(state.select(torch.searchsorted(users, users_b)), candidates)
        lengths_b = fold.users.sequences.lengths[users_b]
        chunks.append(model.personal_scores(score_bC, lengths_b, candidates, average))
    return torch.cat(chunks)


def _sample(values_N: Tensor, size: int, random: torch.Generator) -> Tensor:
    """Return at most `size` of the values, in their order."""
    if len(values_N) <= size:
        return values_N
    return values_N[torch.randperm(len(values_N), generator=random)[:size].sort().values]
