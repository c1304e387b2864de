"""Scores of the whole catalogue for many users, in chunks of bounded memory."""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from models.baselines import Baseline
from models.data.folds import Fold
from models.data.items import ItemTable
from models.data.sequences import SequenceBatch, Sequences
from models.data.targets import Targets
from models.data.user_state import UserState, concat_states
from models.data.users import UserData
from models.evaluation.metrics import ndcg
from models.interest_model import InterestModel
from models.retrieval.full_ranking import CHUNK_USERS, target_ranks, top_k, users_per_chunk
from models.retrieval.item_scores import modality_contributions
from models.retrieval.topk_ranking import ScoreFn, topk_ranks

AVERAGED_USERS = 1024  # users whose mean is the average user, evenly spread over all
CHUNK_INTERACTIONS = 1 << 13  # interactions whose behaviours are predicted at a time


@dataclass(frozen=True)
class Scorer:
    """A model with the videos and the users that it scores.

    Attributes:
        model: The main model or a baseline.
        item_table: All videos.
        user_data: All users.
        day: Only videos that are available on this day are ranked. None: all are available.
    """

    model: InterestModel | Baseline
    item_table: ItemTable
    user_data: UserData
    day: int | None = None

    @property
    def available(self) -> Tensor:
        """Bool, the videos that are ranked."""
        if self.day is None:
            return torch.ones_like(self.item_table.id_row_V, dtype=torch.bool)
        return self.item_table.available_on(self.day)

    def on_fold(self, fold: Fold) -> "Scorer":
        """Return the same model with what a fold knows."""
        return Scorer(self.model, fold.item_table, fold.users, fold.day)

    def with_equal_modality_weights(self) -> "Scorer":
        """Return a copy of the model whose modality weights are equal, in sequences and in candidates.

        Everything else that the model learned stays. The average users are those of the copy.
        """
        model = deepcopy(self.model)
        assert isinstance(model, InterestModel)
        model.modality_preference = None
        scorer = replace(self, model=model)
        model.set_average_users(average_users(scorer))
        return scorer

    def masked(self, users_B: Tensor, score_BV: Tensor) -> Tensor:
        """Return the scores with −inf for seen videos and for those that are not available."""
        hidden_BV = self.user_data.seen.mask(users_B, score_BV.shape[1]) | ~self.available
        return score_BV.masked_fill(hidden_BV, -torch.inf)

    def requests(self, users_B: Tensor) -> Tensor | None:
        """Return the contexts of the next requests of these users, [B, J]. None: unknown."""
        request_UJ = self.user_data.request_UJ
        return None if request_UJ is None else request_UJ[users_B]

    def batch(self, users_B: Tensor) -> SequenceBatch:
        """Return the sequences of these users, as long as the model reads them."""
        return self.user_data.sequences.padded_batch(users_B, self.model.config.max_length)

    def encode_user(self, users_B: Tensor, items: Any) -> UserState:
        """Return the user state of these users after their last interaction.

        Args:
            users_B: The users.
            items: What `model.encode_items` returned.
        """
        return self.model.encode_user(self.batch(users_B), self.user_data.profiles.select(users_B), items)


def averaged_users(sequences: Sequences) -> Tensor:
    """Return the users whose mean is the average user: at most `AVERAGED_USERS` that have a sequence."""
    users = sequences.lengths.nonzero().squeeze(1)
    num_averaged = min(len(users), AVERAGED_USERS)
    sample = users[torch.arange(num_averaged) * len(users) // max(num_averaged, 1)]
    return sample if len(sample) else torch.zeros(1, dtype=torch.long)


@torch.no_grad()
def average_users(scorer: Scorer, items: Any = None, state: UserState | None = None) -> UserState:
    """Return the mean state of the users that have a sequence, with and without their sequences.

    Args:
        scorer: The model and its data. The model is set to evaluation mode.
        items: What `model.encode_items` returned. None: the videos are encoded here.
        state: State of `averaged_users` after their last interaction. None: they are encoded here.

    Returns:
        Two rows: the average user without a sequence, who has a profile only, and the one with a sequence.
    """
    model, user_data = scorer.model.eval(), scorer.user_data
    users = averaged_users(user_data.sequences)
    items = model.encode_items(scorer.item_table) if items is None else items
    no_events = user_data.sequences.padded_batch(users, 0)
    states = [
        model.encode_user(no_events, user_data.profiles.select(users), items),
        scorer.encode_user(users, items) if state is None else state,
    ]
    modality_z = [state.modality_z_NMD.mean(0) for state in states if state.modality_z_NMD is not None]
    return UserState(
        torch.stack([state.z_ND.mean(0) for state in states]),
        torch.stack([state.u_NW.mean(0) for state in states]),
        torch.stack(modality_z) if modality_z else None,
    )


@torch.no_grad()
def score_in_chunks(
    scorer: Scorer, users: Tensor, final: bool = True
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Score the whole catalogue for these users, with seen and unavailable videos at −inf.

    A chunk has so many users that its scores fit into `full_ranking.CHUNK_SCORES`.

    Args:
        scorer: The model and its data.
        users: The users.
        final: Whether the final ranker and the re-ranking are applied. Without them the scores are those of
            retrieval.

    Yields:
        users_B, score_BV and the modality weights alpha_MBV.
    """
    items: Any = scorer.model.eval().encode_items(scorer.item_table)
    for users_B in users.split(users_per_chunk(len(items))):
        user_state = scorer.encode_user(users_B, items)
        score_BV, alpha_MBV = scorer.model.score_items(user_state, items)
        if final:
            score_BV = scorer.model.final_scores(
                score_BV, items, scorer.batch(users_B), scorer.item_table, scorer.day
            )
        score_BV = scorer.masked(users_B, score_BV)
        if final:
            score_BV = scorer.model.rerank(user_state, items, score_BV, scorer.requests(users_B))
        yield users_B, score_BV, alpha_MBV


@dataclass(frozen=True)
class RankingResult:
    """The ranking of the users that have a target.

    Attributes:
        rank_P: Rank of each target.
        top_BK: The K best videos of each user. An entry with the score −inf is empty, because the user has
            seen all other videos.
        score_BK: Their scores.
    """

    rank_P: Tensor
    top_BK: Tensor
    score_BK: Tensor


@dataclass(frozen=True)
class ModalityWeights:
    """The modality weights of a ranking. Means are over the videos that have every modality.

    Attributes:
        alpha_BKM: Of each recommended video.
        alpha_BM: Mean of each user over videos.
        entropy_B: Mean entropy of each user over videos.
        alpha_VM: Mean of each video over users.
    """

    alpha_BKM: Tensor
    alpha_BM: Tensor
    entropy_B: Tensor
    alpha_VM: Tensor


def rank_catalogue(score_chunks: Iterable[tuple[Tensor, Tensor]], targets: Targets, k: int) -> RankingResult:
    """Rank the whole catalogue for the users that have a target.

    Args:
        score_chunks: (users_B, score_BV) over `targets.users`, in order.
        targets: The targets.
        k: Number of recommendations.
    """
    rank_P, top_BK, score_BK = [], [], []
    for users_B, score_BV in score_chunks:
        rank_P.append(target_ranks(score_BV, *targets.for_users(users_B)))
        top_BK.append(top_k(score_BV, k))
        score_BK.append(score_BV.gather(1, top_BK[-1]))
    return RankingResult(torch.cat(rank_P), torch.cat(top_BK), torch.cat(score_BK))


def rank_with_modality_weights(
    score_chunks: Iterable[tuple[Tensor, Tensor, Tensor]], targets: Targets, k: int, has_all_V: Tensor
) -> tuple[RankingResult, ModalityWeights]:
    """Rank the whole catalogue and collect the modality weights.

    Args:
        score_chunks: (users_B, score_BV, alpha_MBV) over `targets.users`, in order.
        targets: The targets.
        k: Number of recommendations.
        has_all_V: Bool, videos that have every modality.
    """
    recommended, per_user, entropy = [], [], []
    sum_VM = torch.zeros((), dtype=torch.float64)  # there may be thousands of chunks

    def collect_weights() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal sum_VM
        for users_B, score_BV, alpha_MBV in score_chunks:
            alpha_BVM = alpha_MBV.permute(1, 2, 0)
            best_BK = top_k(score_BV, k)
            recommended.append(alpha_BVM[torch.arange(len(users_B))[:, None], best_BK])
            full_BVM = alpha_BVM[:, has_all_V]
            per_user.append(full_BVM.mean(1))
            entropy.append(-torch.xlogy(full_BVM, full_BVM).sum(2).mean(1))
            sum_VM = sum_VM + alpha_BVM.sum(0).double()
            yield users_B, score_BV

    ranked = rank_catalogue(collect_weights(), targets, k)
    alpha_VM = sum_VM.float() / max(len(ranked.top_BK), 1)
    return ranked, ModalityWeights(torch.cat(recommended), torch.cat(per_user), torch.cat(entropy), alpha_VM)


@torch.no_grad()
def behaviour_logits(
    scorer: Scorer, user_N: Tensor, row_N: Tensor, request_NJ: Tensor | None = None
) -> Tensor:
    """Return the logits [N, H] of the ranking heads for each pair of user and video.

    Args:
        scorer: The model and its data.
        user_N: Row of the user.
        row_N: Row of the video.
        request_NJ: Code of each context of the request. None: unknown.
    """
    model, users = scorer.model.eval(), user_N.unique()
    items: Any = model.encode_items(scorer.item_table)
    states = [scorer.encode_user(users_B, items) for users_B in users.split(CHUNK_USERS)]
    user_state = concat_states(states)
    position_N = torch.searchsorted(users, user_N)
    if request_NJ is None:
        request_NJ = torch.zeros(len(user_N), len(model.config.request_contexts), dtype=torch.long)
    parts = zip(*(x.split(CHUNK_INTERACTIONS) for x in (position_N, row_N, request_NJ)), strict=True)
    return torch.cat(
        [
            model.behaviour_logits(user_state.select(positions), items, rows, requests)
            for positions, rows, requests in parts
        ]
    )


@torch.no_grad()
def mean_ndcg(scorer: Scorer, targets: Targets, k: int) -> float:
    """Return the mean NDCG@k of retrieval over the users with a target, by top-k ranking with pruning."""
    model, users = scorer.model.eval(), torch.arange(len(scorer.user_data.sequences.lengths))
    items: Any = model.encode_items(scorer.item_table)
    available_C = scorer.available.nonzero().squeeze(1)
    candidates, seen = items.select(available_C), scorer.user_data.seen.restrict_to(users, available_C)

    def encode(users_B: Tensor) -> ScoreFn:
        user_state = scorer.encode_user(users_B, items)
        return lambda index, rows: model.score_items(user_state.select(index), candidates.select(rows))[0]

    target_P = torch.searchsorted(available_C, targets.row_P.contiguous())
    pairs = topk_ranks(encode, seen, targets.user_P, target_P, len(available_C), k)
    user_P, rank_P = (torch.cat(parts).cpu() for parts in zip(*pairs, strict=True))
    users_B, position_P = user_P.unique(return_inverse=True)
    return float(ndcg(rank_P.numpy(), position_P.numpy(), len(users_B), k).mean())


@torch.no_grad()
def recommendation_contributions(scorer: Scorer, users: Tensor, top_BK: Tensor) -> Tensor:
    """Return the contribution of each modality to the scores of recommended videos, [B, K, M].

    Those of a baseline are zero.

    Args:
        scorer: The model and its data.
        users: The users.
        top_BK: Their recommended videos.
    """
    if not isinstance(scorer.model, InterestModel) or not scorer.model.config.modalities:
        return torch.zeros(*top_BK.shape, len(scorer.model.config.modalities))
    items, contributions = scorer.model.eval().encode_items(scorer.item_table), []
    for users_B, rows_BK in zip(users.split(CHUNK_USERS), top_BK.split(CHUNK_USERS), strict=True):
        user_state = scorer.encode_user(users_B, items)
        position_N = torch.arange(len(users_B)).repeat_interleave(rows_BK.shape[1])
        modality_z_NMD = None if user_state.modality_z_NMD is None else user_state.modality_z_NMD[position_N]
        contribution_NM = modality_contributions(
            user_state.z_ND[position_N], user_state.u_NW[position_N], items, rows_BK.flatten(), modality_z_NMD
        )
        contributions.append(contribution_NM.view(*rows_BK.shape, -1))
    return torch.cat(contributions)
