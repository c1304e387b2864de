"""How tonight's model does for some of the people and on some of the videos."""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from contracts.model_params import Evaluate
from models.metrics import Floats, bootstrap, ndcg
from models.scoring import Ranked, Scorer, Targets
from tasks.evidence import SLICE_USERS
from tasks.pinned import Pinned

HEAD_SHARE = 0.2  # the most watched fifth of the videos is the head; the rest is the long tail
DURATIONS_S = (10, 20, 30, 60)  # where one bucket of durations ends and the next begins
WRONG = 0.05  # probability that any interval of a night's slices misses the truth


def slices(
    ranked: Mapping[str, Ranked], aims: Targets, challenger: Scorer, pinned: Pinned, params: Evaluate
) -> dict[str, dict]:
    """NDCG on parts of the targets, for challenger and champion, with their paired difference.

    A slice of videos counts those targets only; whatever else is recommended still stands in their way. With
    some twenty slices, one in twenty intervals of 95 % would miss the truth about one slice every night; so
    they are made wide enough to hold together (Bonferroni). A slice of fewer than `SLICE_USERS` people has
    none: a bootstrap of so few is too sure of itself.
    """
    parts = {
        name: mine_P for name, mine_P in chosen(aims, challenger, pinned, params.cold_events) if mine_P.any()
    }
    found = {name: _slice(ranked, aims, mine_P, params.k) for name, mine_P in parts.items()}
    gaps = {
        name: per_user["challenger"] - per_user["champion"]
        for name, per_user in found.items()
        if "champion" in per_user and len(per_user["champion"]) >= SLICE_USERS
    }
    level = 1 - WRONG / max(len(gaps), 1)
    told: dict[str, dict] = {
        name: {"users": len(per_user["challenger"]), **{m: float(v.mean()) for m, v in per_user.items()}}
        for name, per_user in found.items()
    }
    for name, gap in gaps.items():
        told[name]["difference"] = bootstrap(gap, params.bootstrap_samples, params.seed, level)
    return told


def chosen(
    aims: Targets, challenger: Scorer, pinned: Pinned, cold_events: int
) -> Iterator[tuple[str, Tensor]]:
    """Each slice's name and which targets belong to it [P]."""
    length_P = challenger.people.histories.lengths[aims.user_P]
    yield "new_users", length_P == 0
    yield "cold_users", length_P < cold_events
    yield "warm_users", length_P >= cold_events
    yield "new_videos", pinned.train_views[aims.row_P] == 0
    yield "tail_videos", tail(pinned.train_views)[aims.row_P]
    for i, modality in enumerate(challenger.model.spec.modalities):
        yield f"missing_{modality}", ~challenger.catalogue.has_VM[aims.row_P, i]
    for name, of_V in durations(pinned):
        yield name, of_V[aims.row_P]
    for name, of_U in segments(pinned):
        if len(aims.user_P[of_U[aims.user_P]].unique()) >= SLICE_USERS:
            yield name, of_U[aims.user_P]


def tail(train_views_V: Tensor) -> Tensor:
    """Bool [V]: the videos that are not of the most watched fifth."""
    order_V = torch.argsort(train_views_V, descending=True, stable=True)
    tail_V = torch.ones_like(train_views_V, dtype=torch.bool)
    tail_V[order_V[: math.ceil(HEAD_SHARE * len(order_V))]] = False
    return tail_V


def durations(pinned: Pinned) -> Iterator[tuple[str, Tensor]]:
    """Each bucket of durations and its videos [V]; one of unknown duration is in none.

    Long videos are watched to the end less often, whoever watches.
    """
    second_V = torch.from_numpy(pinned.videos["duration_ms"].to_numpy().astype(np.float64)) / 1000
    for low, high in zip((0, *DURATIONS_S), (*DURATIONS_S, math.inf), strict=True):
        name = f"{low}_to_{high}_s" if high < math.inf else f"from_{low}_s"
        yield name, (second_V >= low) & (second_V < high)


def segments(pinned: Pinned) -> Iterator[tuple[str, Tensor]]:
    """Each value of each category of the profile, and who has it [users]."""
    for field in pinned.users.schema:
        if pa.types.is_string(field.type) and field.name != "user_id":
            value_U = pinned.users[field.name].to_numpy(zero_copy_only=False)
            for value in sorted({v for v in value_U if v is not None}):
                yield f"{field.name}={value}", torch.from_numpy(value_U == value)


def _slice(ranked: Mapping[str, Ranked], aims: Targets, mine_P: Tensor, k: int) -> dict[str, Floats]:
    """NDCG@k of everybody in the slice, for challenger and champion."""
    users, at_P = aims.user_P[mine_P].unique(return_inverse=True)
    return {
        name: ndcg(ranked[name].rank_P[mine_P].numpy(), at_P.numpy(), len(users), k)
        for name in ("challenger", "champion")
        if name in ranked
    }
