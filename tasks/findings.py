"""What evaluate finds beyond the headline: slices, modality weights, and how good the ranking heads are."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from contracts.params import Evaluate
from models.alignment import farthest
from models.baselines import Baseline
from models.metrics import auc, bootstrap, calibration_error, f1, log_loss, ndcg
from models.ranking import HEADS, outcomes
from models.scoring import Ranked, Scorer, Targets, Weights, behaviours
from tasks.pinned import Pinned
from tasks.space import served

HEAD_SHARE = 0.2  # the most watched fifth of the videos is the head; the rest is the long tail
HEADLINE = ("complete", "like")  # the behaviour that stands for ranking: the first that can be measured


def slices(
    ranked: Mapping[str, Ranked], aims: Targets, challenger: Scorer, pinned: Pinned, params: Evaluate
) -> dict[str, dict]:
    """NDCG on parts of the targets, for challenger and champion, with their paired difference.

    A slice of videos counts those targets only; whatever else is recommended still stands in their way.
    """
    found = {}
    for name, chosen_P in _chosen(aims, challenger, pinned, params.cold_events).items():
        if bool(chosen_P.any()):
            found[name] = _slice(ranked, aims, chosen_P, params)
    return found


def _chosen(aims: Targets, challenger: Scorer, pinned: Pinned, cold_events: int) -> dict[str, Tensor]:
    """Slice -> which targets belong to it [P]."""
    length_P = challenger.people.histories.lengths[aims.user_P]
    views_V, has_VM = pinned.train_views, challenger.catalogue.has_VM
    order_V = torch.argsort(views_V, descending=True, stable=True)
    tail_V = torch.ones_like(views_V, dtype=torch.bool)
    tail_V[order_V[: math.ceil(HEAD_SHARE * len(views_V))]] = False
    missing = {f"missing_{m}": ~has_VM[aims.row_P, i] for i, m in enumerate(challenger.model.spec.modalities)}
    return {
        "cold_users": length_P < cold_events,
        "warm_users": length_P >= cold_events,
        "new_videos": views_V[aims.row_P] == 0,
        "tail_videos": tail_V[aims.row_P],
        **missing,
    }


def _slice(ranked: Mapping[str, Ranked], aims: Targets, chosen_P: Tensor, params: Evaluate) -> dict:
    user_P = aims.user_P[chosen_P]
    users = user_P.unique()
    at_P = torch.searchsorted(users, user_P).numpy()
    per_user = {
        name: ndcg(ranked[name].rank_P[chosen_P].numpy(), at_P, len(users), params.k)
        for name in ("challenger", "champion")
        if name in ranked
    }
    found: dict = {"users": len(users), **{name: float(values.mean()) for name, values in per_user.items()}}
    if "champion" in per_user:
        gap = per_user["challenger"] - per_user["champion"]
        found["difference"] = bootstrap(gap, params.bootstrap_samples, params.seed)
    return found


def alpha(weights: Weights, challenger: Scorer, pinned: Pinned) -> dict:
    """Mean modality weights over all test users and the videos that have every modality; their entropy."""
    modalities = list(challenger.model.spec.modalities)
    full_V = challenger.catalogue.has_VM.all(1).numpy()
    if not modalities or not full_V.any():
        return {
            "mean": {},
            "entropy": None,
            "max_entropy": math.log(max(len(modalities), 1)),
            "by_category": {},
        }
    alpha_VM = weights.alpha_VM.numpy()[full_V]
    category_V = np.array([c or "unknown" for c in pinned.videos["category"].to_pylist()])[full_V]
    return {
        "mean": _shares(modalities, weights.alpha_BM.numpy()),
        "entropy": float(weights.entropy_B.mean()),
        "max_entropy": math.log(len(modalities)),
        "by_category": {
            c: _shares(modalities, alpha_VM[category_V == c]) for c in np.unique(category_V).tolist()
        },
    }


def _shares(modalities: list[str], alpha_NM: np.ndarray) -> dict[str, float]:
    return dict(zip(modalities, map(float, alpha_NM.astype(float).mean(0)), strict=True))


def heads(scorer: Scorer, pinned: Pinned, size: int) -> dict[str, dict[str, float | None]]:
    """Each ranking head against what happened in the test day's viewings; None: only one kind happened.

    Empty for a model that has none.
    """
    if isinstance(scorer.model, Baseline) and not scorer.model.ranks:
        return {}
    views, spec = pinned.views("test"), scorer.model.spec
    p_NH = behaviours(scorer, views.user_N, views.row_N, size).double().numpy()
    known_N = ~views.ratio_N.isnan()
    label_NH, known_NH = outcomes(views.ratio_N, known_N, views.did_NA, spec.behaviours, spec.skip_below)
    found = {}
    for i, head in enumerate(HEADS):
        here = known_NH[:, i].numpy()
        p_N, label_N = p_NH[here, i], label_NH[:, i].numpy()[here]
        found[head] = {
            "viewings": int(here.sum()),
            "share": float(label_N.mean()) if len(label_N) else None,
            "auc": auc(p_N, label_N),
            "f1": f1(p_N, label_N),
            "log_loss": log_loss(p_N, label_N),
            "calibration_error": calibration_error(p_N, label_N),
        }
    return found


def headline(found: Mapping[str, Mapping[str, float | None]] | None) -> dict:
    """The figures that stand for a model's ranking, and which behaviour they are of; empty for a baseline."""
    if not found:
        return {}
    head = next((h for h in HEADLINE if found[h]["auc"] is not None), HEADLINE[0])
    kept = {name: found[head][name] for name in ("auc", "f1", "log_loss", "calibration_error")}
    return {"ranking_head": head, **kept}


def drift(challenger: Scorer, pinned: Pinned) -> dict:
    """How far the challenger has moved the space that the champion's index lies in, on the probe videos.

    `farthest` is the largest 95th percentile of 1 − cosine of any modality; None: nothing can be compared,
    and `against` says why.
    """
    model = challenger.model
    if isinstance(model, Baseline):
        return {"against": "a baseline has no such space", "modalities": {}, "farthest": None}
    space = served(pinned, model.spec.width)
    moved = space.drift(model.fusion.project)
    return {"against": space.why, "modalities": moved, "farthest": farthest(moved) if moved else None}
