"""What evaluate finds beyond the headline: modality weights, how good the ranking heads are, and drift."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from models.alignment import farthest
from models.baselines import Baseline
from models.interest import InterestModel
from models.metrics import auc, calibration_error, f1, gauc, log_loss
from models.ranking import HEADS, outcomes
from models.scoring import Scorer, Weights, behaviour_logits
from tasks.pinned import Pinned
from tasks.slices import segments
from tasks.space import served

QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}
HEADLINE = ("complete", "like")  # the behaviour that stands for ranking: the first that can be measured


def alpha(weights: Weights, users: Tensor, challenger: Scorer, pinned: Pinned) -> dict:
    """The audit of the modality weights, over the videos that have every modality.

    Their means over the test users, their entropy, how they are distributed over people, over the people of
    each segment of the profile, and over the videos of each category. `learned`: whether the model weighs at
    all; the weights of `uniform` and `early` are even by construction, and a baseline has none.
    """
    model, modalities = challenger.model, list(challenger.model.spec.modalities)
    full_V = challenger.catalogue.has_VM.all(1).numpy()
    learned = isinstance(model, InterestModel) and model.preference is not None
    told = {"learned": learned, "max_entropy": math.log(max(len(modalities), 1))}
    if not modalities or not full_V.any():
        return told | {"mean": {}, "entropy": None, "people": {}, "by_segment": {}, "by_category": {}}
    alpha_BM, alpha_VM = weights.alpha_BM.numpy(), weights.alpha_VM.numpy()[full_V]
    category_V = np.array([c or "unknown" for c in pinned.videos["category"].to_pylist()])[full_V]
    people = _distribution(modalities, alpha_BM)
    return told | {
        "mean": people["mean"],
        "entropy": float(weights.entropy_B.mean()),
        "people": people,
        "by_segment": {
            name: _distribution(modalities, alpha_BM[of_U[users].numpy()])
            for name, of_U in segments(pinned)
            if of_U[users].any()
        },
        "by_category": {
            c: _distribution(modalities, alpha_VM[category_V == c]) for c in np.unique(category_V).tolist()
        },
    }


def _distribution(modalities: list[str], alpha_NM: np.ndarray) -> dict:
    """How many there are, and the mean and some quantiles of each modality's weight."""
    alpha_NM = alpha_NM.astype(float)
    quantiles = np.quantile(alpha_NM, list(QUANTILES.values()), axis=0)
    found = {"mean": alpha_NM.mean(0), **dict(zip(QUANTILES, quantiles, strict=True))}
    of = {name: dict(zip(modalities, map(float, row_M), strict=True)) for name, row_M in found.items()}
    return {"count": len(alpha_NM), **of}


def heads(scorer: Scorer, pinned: Pinned) -> dict[str, dict[str, float | None]]:
    """Each ranking head against what happened in the test day's viewings; None: only one kind happened.

    Empty for a model that has none.
    """
    if isinstance(scorer.model, Baseline) and not scorer.model.ranks:
        return {}
    views, spec = pinned.views("test"), scorer.model.spec
    p_NH = torch.sigmoid(behaviour_logits(scorer, views.user_N, views.row_N)).double().numpy()
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
            "gauc": gauc(p_N, label_N, views.user_N.numpy()[here]),
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
    kept = {name: found[head][name] for name in ("auc", "gauc", "f1", "log_loss", "calibration_error")}
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
