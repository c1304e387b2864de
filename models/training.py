"""One step of training: which people, which losses, and what stops it.

Legend: B users, T events, S = T + 1 states, N states with a target, E events, C candidate videos, V videos.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.alignment import Twins, alignment_loss, anchor_loss
from models.fusion import Catalogue, Items
from models.histories import Batch, Histories, Seen, next_positive
from models.interest import Interest, InterestModel, Profiles
from models.losses import behaviour_loss, in_chunks, softmax_loss
from models.ranking import outcomes

ALIGN_VIDEOS = 256  # videos in one step's alignment and anchor losses


@dataclass(frozen=True)
class People:
    """What is known of everybody, in one order of users: histories, profiles, and all they ever saw."""

    histories: Histories
    profiles: Profiles
    seen: Seen


@dataclass(frozen=True)
class Objective:
    """The weights of the losses beside retrieval's 1, and the knobs they have.

    id_dropout: share of the videos that a step treats as new, so that content learns to stand alone.
    horizon: a state's target is one of so many coming positive videos.
    aligned: rows of the videos that the alignment loss draws from; twin_cosine: as in models/alignment.py.
    last_VMD: where the champion has the videos; None: the space is a new one, and nothing holds it.
    """

    ranking_weight: float
    align_weight: float
    anchor_weight: float
    id_dropout: float
    horizon: int
    aligned: Tensor
    twin_cosine: float
    last_VMD: Tensor | None = None


def batches(users: Tensor, size: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """The users of an epoch in batches; the order depends on seed and epoch only."""
    draw = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    yield from users[torch.randperm(len(users), generator=draw)].split(size)


def losses(
    model: InterestModel, catalogue: Catalogue, people: People, users_B: Tensor, objective: Objective
) -> dict[str, Tensor]:
    """The losses of a batch by name; `total` is what the step makes small."""
    dropped_V = torch.rand(len(catalogue.id_row_V)) < objective.id_dropout
    items = model.items(catalogue, dropped_V)
    batch = people.histories.batch(users_B, model.spec.max_length)
    interest = model.read(batch, people.profiles.take(users_B), items)
    parts = {
        "retrieval": _retrieval(model, catalogue, people.seen, items, batch, interest, objective.horizon)
    }
    if objective.ranking_weight:
        parts["ranking"] = _ranking(model, items, batch, interest)
    some = objective.aligned[torch.randperm(len(objective.aligned))[:ALIGN_VIDEOS]]
    if objective.align_weight:
        parts["align"] = _alignment(model, catalogue.take(some), items.take(some), objective)
    if objective.anchor_weight and objective.last_VMD is not None:
        parts["anchor"] = anchor_loss(items.x_VMD[some], objective.last_VMD[some], items.has_VM[some])
    weight = {
        "retrieval": 1.0,
        "ranking": objective.ranking_weight,
        "align": objective.align_weight,
        "anchor": objective.anchor_weight,
    }
    return {**parts, "total": torch.stack([weight[name] * part for name, part in parts.items()]).sum()}


def _retrieval(
    model: InterestModel,
    catalogue: Catalogue,
    seen: Seen,
    items: Items,
    batch: Batch,
    interest: Interest,
    horizon: int,
) -> Tensor:
    """−log softmax of a coming positive video over all training videos, at the states that have one.

    What the person has watched is no negative, and neither is what was not yet uploaded when the target was
    watched.
    """
    at_BS, has_BS = next_positive(batch, horizon)
    video_BS, day_BS = batch.video_BT.gather(1, at_BS), batch.day_BT.gather(1, at_BS)
    has_BS = has_BS & (catalogue.id_row_V[video_BS] >= 0)  # liked without a view: no candidate
    if not bool(has_BS.any()):
        return interest.z_ND.sum() * 0.0
    candidate_C = (catalogue.id_row_V >= 0).nonzero().squeeze(1)
    chosen = items.take(candidate_C)
    own_BC = seen.mask(batch.users_B, len(catalogue.id_row_V))[:, candidate_C]

    def loss(z_ND: Tensor, u_ND: Tensor, target_N: Tensor, user_N: Tensor, day_N: Tensor) -> Tensor:
        score_NC, _ = model.scores(Interest(z_ND, u_ND), chosen)
        banned_NC = own_BC[user_N]
        if catalogue.born_V is not None:
            banned_NC = banned_NC | (catalogue.born_V[candidate_C] > day_N[:, None])
        return softmax_loss(score_NC, target_N, banned_NC)

    here, target_N = interest.at(has_BS), torch.searchsorted(candidate_C, video_BS[has_BS])
    user_N = has_BS.nonzero()[:, 0]
    return in_chunks(loss, len(candidate_C), here.z_ND, here.u_ND, target_N, user_N, day_BS[has_BS])


def _ranking(model: InterestModel, items: Items, batch: Batch, interest: Interest) -> Tensor:
    """Binary cross-entropy of what the person did at every event, from the state before it."""
    here, spec = batch.mask_BT, model.spec
    before = Interest(interest.z_ND[:, :-1][here], interest.u_ND[:, :-1][here])
    logit_EH = model.rank(before, items, batch.video_BT[here])
    label_EH, known_EH = outcomes(
        batch.ratio_BT[here],
        batch.ratio_known_BT[here],
        batch.did_BTA[here],
        spec.behaviours,
        spec.skip_below,
    )
    return behaviour_loss(logit_EH, label_EH, known_EH)


def _alignment(model: InterestModel, some: Catalogue, items: Items, objective: Objective) -> Tensor:
    """InfoNCE between the modalities of some videos, at the temperature that align has learned."""
    project = model.fusion.project
    twins = Twins(project.looks(some), objective.twin_cosine)
    return alignment_loss(items.x_VMD, items.has_VM, project.temperature.detach(), twins)


def descend(
    model: torch.nn.Module, optimiser: torch.optim.Optimizer, total: Tensor, clip_norm: float, where: str
) -> float:
    """One optimiser step; returns the gradient norm before clipping.

    Raises:
        FloatingPointError: the loss or a gradient is not finite; the model is left as it was.
    """
    if not bool(torch.isfinite(total)):
        raise FloatingPointError(f"the loss is {total.item()} at {where}; lower train.learning_rate")
    optimiser.zero_grad()
    total.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    if not bool(torch.isfinite(norm)):
        raise FloatingPointError(f"a gradient is not finite at {where}; lower train.learning_rate")
    optimiser.step()
    return float(norm)
