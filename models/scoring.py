"""Scores of the whole catalogue for many people, a chunk at a time.

Legend: B users of a chunk, V videos, M modalities, P (user, target) pairs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.fusion import Catalogue, Items
from models.interest import Interest, InterestModel
from models.metrics import ndcg, ranks, top
from models.training import People


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

    model: InterestModel
    catalogue: Catalogue
    people: People

    def read(self, users_B: Tensor, items: Items) -> Interest:
        """What these users are interested in now."""
        batch = self.people.histories.batch(users_B, self.model.spec.max_length)
        return self.model.newest(batch, self.people.profiles.take(users_B), items)


@torch.no_grad()
def chunks(scorer: Scorer, users: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Users, their scores with everything they have seen at −inf, and the modality weights behind them.

    Yields:
        users_B, score_BV, alpha_MBV.
    """
    items = scorer.model.eval().items(scorer.catalogue)
    for users_B in users.split(size):
        score_BV, alpha_MBV = scorer.model.scores(scorer.read(users_B, items), items)
        seen_BV = scorer.people.seen.mask(users_B, score_BV.shape[1])
        yield users_B, score_BV.masked_fill(seen_BV, -torch.inf), alpha_MBV


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
def behaviours(scorer: Scorer, user_N: Tensor, row_N: Tensor, size: int) -> Tensor:
    """p_NH: the probability of each behaviour should this user be shown this video."""
    model, users = scorer.model.eval(), user_N.unique()
    items = model.items(scorer.catalogue)
    found = [scorer.read(users_B, items) for users_B in users.split(size)]
    everybody = Interest(torch.cat([i.z_ND for i in found]), torch.cat([i.u_NE for i in found]))
    at_N = torch.searchsorted(users, user_N)
    parts = zip(at_N.split(size * 16), row_N.split(size * 16), strict=True)
    return torch.cat([torch.sigmoid(model.rank(everybody.at(at), items, rows)) for at, rows in parts])


@torch.no_grad()
def reasons(scorer: Scorer, users: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The past video that each user's newest state looks at most: row_B (−1: none) and its weight_B."""
    model, people = scorer.model.eval(), scorer.people
    items = model.items(scorer.catalogue)
    rows, weights = [], []
    for users_B in users.split(size):
        batch = people.histories.batch(users_B, model.spec.max_length)
        weight_BT = model.attention(batch, people.profiles.take(users_B), items)
        if weight_BT is None:
            weight_BT = torch.zeros(batch.mask_BT.shape)
        weight_B, at_B = torch.nn.functional.pad(weight_BT, (1, 0)).max(1)
        row_BT = torch.nn.functional.pad(batch.video_BT, (1, 0), value=-1)
        rows.append(row_BT.gather(1, at_B[:, None]).squeeze(1))
        weights.append(weight_B)
    return torch.cat(rows), torch.cat(weights)


def mean_ndcg(scorer: Scorer, targets: Targets, k: int, size: int) -> float:
    """Mean NDCG@k over the users with a target."""
    total, users = 0.0, targets.users
    for users_B, score_BV, _ in chunks(scorer, users, size):
        user_P, row_P = targets.of(users_B)
        rank_P = ranks(score_BV, user_P, row_P).numpy()
        total += float(ndcg(rank_P, user_P.numpy(), len(users_B), k).sum())
    return total / len(users)
