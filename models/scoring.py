"""Scores of the whole catalogue for many people, a chunk at a time.

Legend: B users of a chunk, V videos, M modalities, P (user, target) pairs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from models.baselines import Baseline
from models.first_places import Score, first_places
from models.fusion import Catalogue
from models.interest import Interest, InterestModel
from models.matching import added
from models.metrics import ndcg
from models.ranks import CHUNK_USERS, ranks, top, users_at_once
from models.training import People

CHUNK_VIEWINGS = 1 << 13  # viewings whose behaviours are foretold at a time


@dataclass(frozen=True)
class Targets:
    """What should have been recommended: pairs sorted by user, then row; `users` are those who have any."""

    user_P: Tensor
    row_P: Tensor

    @property
    def users(self) -> Tensor:
        return self.user_P.unique()

    def of(self, users_B: Tensor) -> tuple[Tensor, Tensor]:
        """The pairs of these (sorted, distinct) users: position in `users_B`, and row."""
        position_P = torch.searchsorted(users_B, self.user_P).clamp(max=len(users_B) - 1)
        mine_P = users_B[position_P] == self.user_P
        return position_P[mine_P], self.row_P[mine_P]


@dataclass(frozen=True)
class Scorer:
    """A model, with the videos and the people as it sees them."""

    model: InterestModel | Baseline
    catalogue: Catalogue
    people: People

    def read(self, users_B: Tensor, items: Any) -> Interest:
        """What these users are interested in now; `items` are the model's own."""
        batch = self.people.histories.batch(users_B, self.model.spec.max_length)
        return self.model.newest(batch, self.people.profiles.take(users_B), items)


@torch.no_grad()
def read_once(scorer: Scorer) -> Scorer:
    """The same, with what everybody goes by read once and for all: training reads it in every epoch.

    A video that a step treats as new (`id_dropout`) is thus answered beside what is usual at it all the same.
    """
    model, people = scorer.model.eval(), scorer.people
    if not isinstance(model, InterestModel) or model.preference is None:
        return scorer
    items, past, length = model.items(scorer.catalogue), people.histories, model.spec.max_length
    newest_E = past.offsets[1:].repeat_interleave(past.lengths) - torch.arange(len(past.video_E)) <= length
    share_EM = torch.zeros(len(newest_E), len(model.spec.modalities))
    told = []
    for users_B in torch.arange(len(past.lengths)).split(CHUNK_USERS):
        batch = past.batch(users_B, length)
        told.append(model.shares(batch, people.profiles.take(users_B), items)[:, 1:][batch.mask_BT])
    share_EM[newest_E] = torch.cat(told)
    return replace(scorer, people=replace(people, histories=replace(past, share_EM=share_EM)))


@torch.no_grad()
def chunks(scorer: Scorer, users: Tensor, rerank: bool = True) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Users, their scores with everything they have seen at −inf, and the modality weights behind them.

    `rerank`: with the second stage; without, as retrieval alone has them.

    So many users at a time as keeps their scores within `ranks.CHUNK_SCORES`, however large the catalogue.

    Yields:
        users_B, score_BV, alpha_MBV.
    """
    items: Any = scorer.model.eval().items(scorer.catalogue)
    for users_B in users.split(users_at_once(len(items))):
        interest = scorer.read(users_B, items)
        score_BV, alpha_MBV = scorer.model.scores(interest, items)
        score_BV = score_BV.masked_fill(scorer.people.seen.mask(users_B, score_BV.shape[1]), -torch.inf)
        yield users_B, scorer.model.rerank(interest, items, score_BV) if rerank else score_BV, alpha_MBV


@dataclass(frozen=True)
class Ranked:
    """What a model did for the users B who have a target: place of each target, and the K best videos.

    A place in `top_BK` whose score is −inf stands for nothing: the person has seen all the rest.
    """

    rank_P: Tensor
    top_BK: Tensor
    score_BK: Tensor


@dataclass(frozen=True)
class Weights:
    """The modality weights behind a ranking; means are over the videos that have every modality.

    Attributes:
        alpha_BKM: of each recommended video.
        alpha_BM, entropy_B: per user, over videos.
        alpha_VM: per video, over users.
    """

    alpha_BKM: Tensor
    alpha_BM: Tensor
    entropy_B: Tensor
    alpha_VM: Tensor


def rank(scored: Iterable[tuple[Tensor, Tensor]], targets: Targets, k: int) -> Ranked:
    """Rank the whole catalogue; `scored` gives (users_B, score_BV) over `targets.users`, in order."""
    rank_P, top_BK, score_BK = [], [], []
    for users_B, score_BV in scored:
        rank_P.append(ranks(score_BV, *targets.of(users_B)))
        top_BK.append(top(score_BV, k))
        score_BK.append(score_BV.gather(1, top_BK[-1]))
    return Ranked(torch.cat(rank_P), torch.cat(top_BK), torch.cat(score_BK))


def rank_and_weigh(
    scored: Iterable[tuple[Tensor, Tensor, Tensor]], targets: Targets, k: int, full_V: Tensor
) -> tuple[Ranked, Weights]:
    """Rank as above and keep what `chunks` tells of α. `full_V`: videos that have every modality."""
    recommended, per_user, entropy, per_video = [], [], [], []

    def watched() -> Iterator[tuple[Tensor, Tensor]]:
        for users_B, score_BV, alpha_MBV in scored:
            alpha_BVM = alpha_MBV.permute(1, 2, 0)
            best_BK = top(score_BV, k)
            recommended.append(alpha_BVM[torch.arange(len(users_B))[:, None], best_BK])
            full_BVM = alpha_BVM[:, full_V]
            per_user.append(full_BVM.mean(1))
            entropy.append(-torch.xlogy(full_BVM, full_BVM).sum(2).mean(1))
            per_video.append(alpha_BVM.sum(0))
            yield users_B, score_BV

    ranked = rank(watched(), targets, k)
    alpha_VM = torch.stack(per_video).sum(0) / max(len(ranked.top_BK), 1)
    return ranked, Weights(torch.cat(recommended), torch.cat(per_user), torch.cat(entropy), alpha_VM)


@torch.no_grad()
def behaviour_logits(scorer: Scorer, user_N: Tensor, row_N: Tensor) -> Tensor:
    """Logits [N, H] of each behaviour should this user be shown this video."""
    model, users = scorer.model.eval(), user_N.unique()
    items: Any = model.items(scorer.catalogue)
    found = [_z_and_u(scorer.read(users_B, items)) for users_B in users.split(CHUNK_USERS)]
    everybody = Interest(*(torch.cat(parts) for parts in zip(*found, strict=True)))
    at_N = torch.searchsorted(users, user_N)
    parts = zip(at_N.split(CHUNK_VIEWINGS), row_N.split(CHUNK_VIEWINGS), strict=True)
    return torch.cat([model.rank(everybody.at(at), items, rows) for at, rows in parts])


def _z_and_u(interest: Interest) -> tuple[Tensor, Tensor]:
    """What ranking reads; the rest of an interest may be as wide as the catalogue."""
    return interest.z_ND, interest.u_NE


@torch.no_grad()
def reasons(scorer: Scorer, users: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The past events that each user's newest state looks at most.

    Returns:
        row_BE: the videos of up to `count` events, the most looked at first (−1: no more), and their
        weight_BE. An encoder that cannot say where it looks gives none.
    """
    model, people = scorer.model.eval(), scorer.people
    items: Any = model.items(scorer.catalogue)
    rows, weights = [], []
    for users_B in users.split(CHUNK_USERS):
        batch = people.histories.batch(users_B, model.spec.max_length)
        weight_BT = model.attention(batch, people.profiles.take(users_B), items)
        if weight_BT is None:
            weight_BT = torch.zeros(batch.mask_BT.shape)
        weight_BT = torch.nn.functional.pad(weight_BT, (0, count))
        row_BT = torch.nn.functional.pad(batch.video_BT, (0, count), value=-1)
        order_BE = weight_BT.sort(dim=1, descending=True, stable=True).indices[:, :count]
        weights.append(weight_BT.gather(1, order_BE))
        rows.append(torch.where(weights[-1] > 0, row_BT.gather(1, order_BE), -1))
    return torch.cat(rows), torch.cat(weights)


@torch.no_grad()
def mean_ndcg(scorer: Scorer, targets: Targets, k: int) -> float:
    """Mean NDCG@k of retrieval over the users with a target, without ranking what cannot be among the k."""
    model = scorer.model.eval()
    items: Any = model.items(scorer.catalogue)

    def read(users_B: Tensor) -> Score:
        interest = scorer.read(users_B, items)
        return lambda at, rows: model.scores(interest.at(at), items.take(rows))[0]

    pairs = first_places(read, scorer.people.seen, targets.user_P, targets.row_P, len(items), k)
    user_P, rank_P = (torch.cat(parts).cpu() for parts in zip(*pairs, strict=True))
    users_B, at_P = user_P.unique(return_inverse=True)
    return float(ndcg(rank_P.numpy(), at_P.numpy(), len(users_B), k).mean())


@torch.no_grad()
def carried(scorer: Scorer, users: Tensor, top_BK: Tensor) -> Tensor:
    """What each modality adds to the scores of these videos of each user [B, K, M] (`matching.added`)."""
    if not scorer.model.spec.modalities:
        return torch.zeros(*top_BK.shape, 0)
    assert isinstance(scorer.model, InterestModel)
    items, found = scorer.model.eval().items(scorer.catalogue), []
    for users_B, rows_BK in zip(users.split(CHUNK_USERS), top_BK.split(CHUNK_USERS), strict=True):
        now = scorer.read(users_B, items)
        each_N = torch.arange(len(users_B)).repeat_interleave(rows_BK.shape[1])
        own_NMD = None if now.own_NMD is None else now.own_NMD[each_N]
        added_NM = added(now.z_ND[each_N], now.u_NE[each_N], items, rows_BK.flatten(), own_NMD)
        found.append(added_NM.view(*rows_BK.shape, -1))
    return torch.cat(found)
