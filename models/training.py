"""One step of training: which people, which videos, which losses, and what stops it.

Several processes may share a batch (models/processes.py): each has its own people and the same videos, and
the sum of their losses is the loss of one process that has all.

Legend: B users, T events, S = T + 1 states, N states with a target, E events, C candidate videos, V videos,
R videos that a step needs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from models import processes
from models.alignment import Twins, alignment_loss, anchor_loss
from models.fusion import Catalogue, Items
from models.histories import Batch, Histories, Seen, next_positive, recency
from models.interest import Interest, InterestModel
from models.losses import behaviour_loss, in_chunks, sampled_softmax_loss
from models.profiles import Profiles
from models.ranking import outcomes
from models.softmax import product_softmax_loss

POOL = 16  # batches that are sorted by length together
SMOOTHING = 0.75  # exponent of the views in the drawing of negatives (word2vec)
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

    negatives: candidates drawn a step for retrieval's softmax; 0: all training videos are candidates.
    id_dropout: share of the videos that a step treats as new, so that content learns to stand alone.
    horizon: a state's target is one of so many coming positive videos.
    half_life_days, last_day: retrieval of what was liked so many days before that day (counted from 1970)
        counts half, and so on; 0 days: all counts the same.
    aligned: rows of the videos that the alignment loss draws from; twin_cosine: as in models/alignment.py.
    last_VMD: where the champion has the videos; None: the space is a new one, and nothing holds it.
    """

    ranking_weight: float
    align_weight: float
    anchor_weight: float
    negatives: int
    id_dropout: float
    horizon: int
    half_life_days: float
    last_day: int
    aligned: Tensor
    twin_cosine: float
    last_VMD: Tensor | None = None


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Of all that a step draws, so that a run can go on from any of them; as large as torch takes."""
    return ((seed * 1_000_003 + epoch) * 1_000_003 + step) % (1 << 63)


def batches(
    users: Tensor, lengths: Tensor, size: int, batch_of: Literal["people", "events"], seed: int, epoch: int
) -> Iterator[Tensor]:
    """The users of an epoch in batches of about one length, so that little is padding.

    `lengths`: events of each, 1 or more. `batch_of`: `people`, `size` of them; or `events`: as many in
    each, `size` people on average. A step's loss is a mean over events, so that with as many people in
    each those who did little count more.

    The order depends on seed and epoch only: drawn, then sorted by length among `POOL` batches at a time,
    whose order is drawn again. All of it stays on the CPU.
    """
    draw = torch.Generator("cpu").manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(users), generator=draw, device="cpu")
    pools = [pool[lengths[pool].argsort(stable=True)] for pool in order.split(size * POOL)]
    parts = [size if batch_of == "people" else _even(lengths[pool].long(), size) for pool in pools]
    cut = [at for pool, part in zip(pools, parts, strict=True) for at in pool.split(part)]
    for i in torch.randperm(len(cut), generator=draw, device="cpu").tolist():
        yield users[cut[i]]


def _even(lengths: Tensor, size: int) -> list[int]:
    """How many users, in this order, make each of as many batches as `size` users in each would make."""
    count, upto = -(-len(lengths) // size), lengths.cumsum(0)
    batch = (2 * upto - lengths) * count // (2 * upto[-1])  # in which a user's middle event falls
    return [users for users in batch.bincount().tolist() if users]


@dataclass(frozen=True)
class Candidates:
    """The videos of retrieval's softmax: their rows, and log of how often each was to be drawn."""

    row_C: Tensor
    log_expected_C: Tensor


def candidates(model: InterestModel, catalogue: Catalogue, negatives: int) -> Candidates:
    """All training videos, or so many of them drawn with replacement, the more viewed the more often."""
    row_I = torch.empty_like(model.fusion.views_I)
    known_V = catalogue.id_row_V >= 0
    row_I[catalogue.id_row_V[known_V]] = known_V.nonzero().squeeze(1)
    if not negatives or not len(row_I):
        return Candidates(row_I, torch.zeros(len(row_I)))
    share_I = (1.0 + model.fusion.views_I).pow(SMOOTHING)
    share_I = share_I / share_I.sum()
    drawn_C = torch.multinomial(share_I, negatives, replacement=True)
    return Candidates(row_I[drawn_C], torch.log(negatives * share_I[drawn_C]))


def losses(
    model: InterestModel, catalogue: Catalogue, people: People, users_B: Tensor, objective: Objective
) -> dict[str, Tensor]:
    """This process's part of the losses of a batch by name; `total` is what the step makes small."""
    V = len(catalogue.id_row_V)
    dropped_V = torch.rand(V) < objective.id_dropout
    chosen = candidates(model, catalogue, objective.negatives)
    some = objective.aligned[torch.randperm(len(objective.aligned))[:ALIGN_VIDEOS]]
    processes.part_ways()
    batch = people.histories.batch(users_B, model.spec.max_length)
    rows_R = torch.arange(V)
    if objective.negatives:
        rows_R = torch.cat([batch.video_BT[batch.mask_BT], chosen.row_C]).unique()
    items = model.items(catalogue.take(rows_R), dropped_V[rows_R])
    interest = model.read(batch.among(rows_R), people.profiles.take(users_B), items)
    step = Step(model, catalogue, people.seen, rows_R, items, batch, interest)
    parts = {"retrieval": _retrieval(step, chosen, objective)}
    if objective.ranking_weight:
        parts["ranking"] = _ranking(step)
    parts |= _space(model, catalogue, some, objective)
    weight = {
        "retrieval": 1.0,
        "ranking": objective.ranking_weight,
        "align": objective.align_weight,
        "anchor": objective.anchor_weight,
    }
    return {**parts, "total": torch.stack([weight[name] * part for name, part in parts.items()]).sum()}


@dataclass(frozen=True)
class Step:
    """What the losses of a step read. `items` are the videos of `rows_R`, `batch` has catalogue rows."""

    model: InterestModel
    catalogue: Catalogue
    seen: Seen
    rows_R: Tensor
    items: Items
    batch: Batch
    interest: Interest

    def places(self, rows: Tensor) -> Tensor:
        """Where these rows of the catalogue are among `items`."""
        return torch.searchsorted(self.rows_R, rows)


def _mean(sum_of_mine: Tensor, mine: Tensor) -> Tensor:
    """This process's share of a mean over what all processes have; 0 where there is nothing."""
    everything = processes.total(mine)
    return sum_of_mine / torch.where(everything > 0, everything, 1)


def _retrieval(step: Step, chosen: Candidates, objective: Objective) -> Tensor:
    """−log softmax of a coming positive video over the candidates, at the states that have one.

    What the person has watched is no negative, and neither is what was not yet uploaded when the target was
    watched. Where no α depends on person and video both, scores are plain products, and cheaper.
    """
    model, catalogue, batch = step.model, step.catalogue, step.batch
    at_BS, has_BS = next_positive(batch, objective.horizon)
    video_BS, day_BS = batch.video_BT.gather(1, at_BS), batch.day_BT.gather(1, at_BS)
    has_BS = has_BS & (catalogue.id_row_V[video_BS] >= 0)  # liked without a view: no candidate
    weight_N = recency(day_BS[has_BS], objective.last_day, objective.half_life_days)
    if not len(weight_N):
        return _mean(step.interest.z_ND.sum() * 0.0, weight_N.sum())
    offered, here = step.items.take(step.places(chosen.row_C)), step.interest.at(has_BS)
    own = step.seen.within(batch.users_B, chosen.row_C)  # with the target, whose score stands apart
    of_state = (step.places(video_BS[has_BS]), has_BS.nonzero()[:, 0], day_BS[has_BS])

    def ban(score_NC: Tensor, user_N: Tensor, day_N: Tensor) -> Tensor:
        score_NC[own.of(user_N)] = -torch.inf
        if catalogue.born_V is not None:
            score_NC.masked_fill_(catalogue.born_V[chosen.row_C] > day_N[:, None], -torch.inf)
        return score_NC

    def loss(target_N: Tensor, user_N: Tensor, day_N: Tensor, weight_N: Tensor, *interest: Tensor) -> Tensor:
        mine = Interest(*interest)
        score_NC = ban(model.scores(mine, offered)[0], user_N, day_N)
        own_N = model.score_pairs(mine, step.items, target_N)
        return sampled_softmax_loss(own_N, score_NC, chosen.log_expected_C, weight_N)

    pair = model.products(here, offered)
    if pair is None:
        vectors = (here.z_ND, here.u_NE, *(() if here.own_NMD is None else (here.own_NMD,)))
        total = in_chunks(loss, len(chosen.row_C), *of_state, weight_N, *vectors)
    else:
        q_NX, w_CX = pair
        total = product_softmax_loss(
            q_NX,
            w_CX - F.pad(chosen.log_expected_C[:, None], (w_CX.shape[1] - 1, 0)),
            model.score_pairs(here, step.items, of_state[0]),
            weight_N,
            lambda score_nC, chunk: ban(score_nC, *(part[chunk] for part in of_state[1:])),
        )
    return _mean(total, weight_N.sum())


def _ranking(step: Step) -> Tensor:
    """Binary cross-entropy of what the person did at every event, from the state before it."""
    batch, here, spec = step.batch, step.batch.mask_BT, step.model.spec
    before = step.interest.at((slice(None), slice(-1))).at(here)
    logit_EH = step.model.rank(before, step.items, step.places(batch.video_BT[here]))
    label_EH, known_EH = outcomes(
        batch.ratio_BT[here],
        batch.ratio_known_BT[here],
        batch.did_BTA[here],
        spec.behaviours,
        spec.skip_below,
    )
    return _mean(behaviour_loss(logit_EH, label_EH, known_EH), known_EH.sum())


def _space(
    model: InterestModel, catalogue: Catalogue, some: Tensor, objective: Objective
) -> dict[str, Tensor]:
    """What keeps the space of the modalities together and in its place, on some videos.

    InfoNCE between the modalities of a video, at the temperature that align has learned, and the anchor.
    """
    rows = processes.share(some)
    part, project, parts = catalogue.take(rows), model.fusion.project, {}
    x_VMD = project(part)
    if objective.align_weight:
        twins = Twins(project.looks(part), objective.twin_cosine)
        parts["align"] = alignment_loss(x_VMD, part.has_VM, project.temperature.detach(), twins)
    if objective.anchor_weight and objective.last_VMD is not None:
        parts["anchor"] = anchor_loss(x_VMD, objective.last_VMD[rows], part.has_VM)
    return parts


def descend(
    model: torch.nn.Module, optimiser: torch.optim.Optimizer, total: Tensor, clip_norm: float, where: str
) -> float:
    """One optimiser step; returns the gradient norm before clipping.

    Raises:
        FloatingPointError: the loss or a gradient is not finite; the model is left as it was.
    """
    if not bool(torch.isfinite(processes.total(total))):
        raise FloatingPointError(f"the loss is {total.item()} at {where}; lower train.learning_rate")
    optimiser.zero_grad()
    total.backward()
    processes.add_gradients(model.parameters())
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    if not bool(torch.isfinite(norm)):
        raise FloatingPointError(f"a gradient is not finite at {where}; lower train.learning_rate")
    optimiser.step()
    return float(norm)
