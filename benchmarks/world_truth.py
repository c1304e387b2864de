"""What a demo world's truth says of a model: its modality weights, the days of its drift, its ceiling.

Legend: B people, V videos, M modalities, S seeds. Nothing here is seen by a model or a step.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from models.drift import Drift
from models.histories import Histories
from models.interest import InterestModel
from models.matching import score
from models.metrics import Floats, ndcg
from models.scoring import Scorer, Targets, rank
from tasks.changes import EPOCH
from tasks.evaluate import per_user
from tasks.pinned import Pinned
from world.viewing import QUALITY

LEAST_EVENTS = 20  # fewer tell nothing of a person's weights or drift
WITHIN_DAYS = 1
PEOPLE = 32  # read at a time


class Truth:
    """The truth's tables, in the order of the snapshot's users and videos."""

    def __init__(self, folder: Path, pinned: Pinned) -> None:
        told = json.loads((folder / "world.json").read_text(encoding="utf-8"))
        self.modalities: list[str] = told["modalities"]
        people = _rows(folder / "users.parquet", "user_id")
        self.people: list[Any] = [people.get(name) for name in pinned.users["user_id"].to_pylist()]
        videos = _rows(folder / "videos.parquet", "video_id")
        self.videos = [videos[name] for name in pinned.videos["video_id"].to_pylist()]

    def taste(self, row: int, day: date) -> Floats:
        """Liking of each topic by a person on a day."""
        person = self.people[row]
        changed = person["drift_day"] is not None and day >= person["drift_day"]
        return np.array(person["later_taste" if changed else "first_taste"])


def _rows(path: Path, key: str) -> dict[str, Mapping]:
    return {row[key]: row for row in pq.read_table(path).to_pylist()}


def watched_enough(truth: Truth, past: Histories) -> Tensor:
    """Rows of the people that are known to the truth (bots are not) and have LEAST_EVENTS viewings."""
    known_B = torch.tensor([person is not None for person in truth.people])
    return (known_B & (past.lengths >= LEAST_EVENTS)).nonzero().squeeze(1)


@torch.no_grad()
def learned_weights(scorer: Scorer, past: Histories, users: Tensor) -> Floats:
    """α of these people [B, M] when u has read all their viewings: mean over videos with every modality."""
    model = scorer.model.eval()
    assert isinstance(model, InterestModel)
    items, full_V = model.items(scorer.catalogue), scorer.catalogue.has_VM.all(1)
    found = []
    for users_B in users.split(PEOPLE):
        batch = past.batch(users_B, int(past.lengths.max()))
        u_BSE = model.preferences(batch, scorer.people.profiles.take(users_B), items)
        u_BE = u_BSE[torch.arange(len(users_B)), batch.lengths]
        _, alpha_MBV = score(u_BE.new_zeros(len(users_B), model.spec.width), u_BE, items)
        found.append(alpha_MBV[:, :, full_V].mean(2).T)
    return torch.cat(found).double().numpy()


def agreement(alpha_SBM: Sequence[Floats], truth: Truth, users: Tensor, names: Sequence[str]) -> dict:
    """Spearman correlation of learned and planted weights over people, for each modality apart.

    Stricter than over people and modalities together, which also rewards knowing which modality most go by.
    """
    column = [truth.modalities.index(name) for name in names]
    planted_BM = np.array([truth.people[row]["weights"] for row in users.tolist()])[:, column]
    rho_SM = [
        [float(spearmanr(alpha_BM[:, m], planted_BM[:, m]).statistic) for m in range(len(names))]
        for alpha_BM in alpha_SBM
    ]
    together = [float(spearmanr(alpha.ravel(), planted_BM.ravel()).statistic) for alpha in alpha_SBM]
    by_modality = dict(zip(names, np.mean(rho_SM, 0).round(3).tolist(), strict=True))
    return {
        "people": len(users),
        "spearman": by_modality,
        "spearman_lowest": min(by_modality.values()),
        "spearman_together": round(float(np.mean(together)), 3),
        "by_seed": np.round(rho_SM, 3).tolist(),
    }


def drift_figures(found: Drift, truth: Truth, users: Tensor, last: date) -> dict:
    """Share of the drifting people whose day was found, and of the others who were left alone."""
    days = [truth.people[row]["drift_day"] for row in users.tolist()]
    planted_B = np.array([(day - EPOCH).days if day and day <= last else -1 for day in days])
    drifts_B, changed_B = planted_B >= 0, found.changed.numpy()
    near_B = np.abs(found.day.numpy() - planted_B) <= WITHIN_DAYS
    common = np.bincount(planted_B[drifts_B]).argmax() if drifts_B.any() else -1
    own_B = drifts_B & (planted_B != common)

    def share(hits_B: NDArray[np.bool_], among_B: NDArray[np.bool_]) -> float | None:
        return round(float(hits_B[among_B].mean()), 3) if among_B.any() else None

    return {
        "drifting": int(drifts_B.sum()),
        "found_within_a_day": share(changed_B & near_B, drifts_B),
        "likeliest_day_within_a_day": share(near_B, drifts_B),
        "found_of_those_with_a_day_of_their_own": share(changed_B & near_B, own_B),
        "with_a_day_of_their_own": int(own_B.sum()),
        "steady": int((~drifts_B).sum()),
        "steady_left_alone": share(~changed_B, ~drifts_B),
        "precision": share(near_B & drifts_B, changed_B),
    }


def ceiling(pinned: Pinned, truth: Truth, aims: Targets, k: int) -> Floats:
    """NDCG@k per test user of ranking by the true interest: what no model can be asked to pass by much."""
    seen, V = pinned.seen("test"), len(truth.videos)
    quality_V = QUALITY * np.array([video["quality"] for video in truth.videos])

    def scored() -> Iterator[tuple[Tensor, Tensor]]:
        for users_B in aims.users.split(PEOPLE):
            liking = [_liking(truth, row, pinned.night.day) + quality_V for row in users_B.tolist()]
            yield users_B, torch.tensor(np.stack(liking)).masked_fill(seen.mask(users_B, V), -torch.inf)

    return per_user(ndcg, rank(scored(), aims, k), aims, k)


def _liking(truth: Truth, row: int, day: date) -> Floats:
    """A person's true interest in every video [V]; of what is seen, the mean over the segments."""
    taste = truth.taste(row, day)
    weight = dict(zip(truth.modalities, truth.people[row]["weights"], strict=True))
    others = [name for name in truth.modalities if name != "visual"]
    seen_V = np.array([taste[video["segment_topics"]].mean() for video in truth.videos])
    return weight["visual"] * seen_V + sum(
        weight[name] * taste[[video[name] for video in truth.videos]] for name in others
    )
