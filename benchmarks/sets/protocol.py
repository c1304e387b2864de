"""How every set is measured: ours and the baselines learn from one past and are ranked on one later moment.

The whole catalogue is ranked, what a person has seen is masked, ties are broken by row. Models are chosen on
the validation targets, which follow the past; the test targets are ranked once.

Legend: E events, V videos, B users with a target, P (user, target) pairs.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from contracts.model_params import Rerank, Train
from contracts.tables import BEHAVIOURS
from models.baselines import BASELINES, Baseline, trending
from models.baselines.fitting import Fitting, fit
from models.determinism import settle
from models.fusion import Catalogue, Projection
from models.histories import HOURS, Histories, Seen
from models.interest import InterestModel, Spec
from models.metrics import Floats, bootstrap, ndcg, recall
from models.profiles import Profiles
from models.ranks import users_at_once
from models.scoring import Scorer, Targets, chunks, mean_ndcg, rank
from models.training import Objective, People
from tasks import fitting

KS = (5, 10, 20)
BOOTSTRAP = 2000
ORDERED = ("sasrec", "bert4rec", "din")  # baselines that read a sequence
NO_RERANK = Rerank(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
Curve = list[dict[str, float]]


@dataclass(frozen=True)
class Moment:
    """What is known of everybody at a moment, and what they liked next."""

    histories: Histories
    seen: Seen
    targets: Targets


@dataclass(frozen=True)
class Split:
    """One data set. `past` is learned from and validated on, `later` is the test.

    vocabulary: what a model's description has to say of the profiles (`categories`, `numbers`), and of the
    features (`modalities`).
    """

    catalogue: Catalogue
    profiles: Profiles
    past: Moment
    later: Moment
    vocabulary: Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """A model at its best epoch, and the curve that led there."""

    model: InterestModel | Baseline
    curve: Curve


@dataclass(frozen=True)
class Measured:
    """Of one model: NDCG@k and Recall@k of each user with a target, and its training curve."""

    per_user: Mapping[str, Floats]
    curve: Curve

    def means(self, ks: Sequence[int] = KS) -> dict[str, float]:
        return {
            f"{m}@{k}": round(float(self.per_user[f"{m}@{k}"].mean()), 4)
            for m in ("recall", "ndcg")
            for k in ks
        }

    def trained(self) -> dict:
        """How it was trained: epochs, the best of them, and the validation NDCG@10 of every fifth."""
        values = [round(row["ndcg@10"], 4) for row in self.curve]
        return {
            "epochs": len(values),
            "best": max(values),
            "best_epoch": 1 + int(np.argmax(values)),
            "curve": values[::5],
        }


def baseline(name: str, split: Split, sizes: Spec, knobs: Fitting) -> Trained:
    """A baseline, trained on the past."""
    settle(knobs.seed)
    nothing: dict = {"modalities": {}, "fingerprints": {}, "categories": {}, "numbers": {}}
    length = sizes.max_length if name in ORDERED else 1 << 20  # who reads a set reads all of it
    model = BASELINES[name](replace(sizes, model=name, max_length=length, **nothing))
    scorer = _scorer(model, split, split.past)
    valid = lambda: {"ndcg@10": mean_ndcg(scorer, split.past.targets, 10)}  # noqa: E731
    return Trained(model, fit(model, split.past.histories, split.catalogue.id_row_V, knobs, valid))


def ours(split: Split, sizes: Spec, params: Train) -> Trained:
    """Our model, trained on the past by the same loop as a night's; what content there is, is not aligned."""
    settle(params.seed)
    model = InterestModel(replace(sizes, **split.vocabulary))
    views_V = torch.bincount(split.past.histories.video_E, minlength=len(split.catalogue.id_row_V))
    liked_V = trending(split.past.histories, len(views_V), params.half_life_days)
    known_V = split.catalogue.id_row_V >= 0
    for i, (m, head) in enumerate(model.fusion.project.heads.items()):
        assert isinstance(head, Projection)
        head.set_statistics(split.catalogue.features[m][known_V & split.catalogue.has_VM[:, i]])
    model.fusion.start_from(views_V[known_V], liked_V[known_V])
    model.start_from(split.past.histories, split.profiles, split.catalogue)
    objective = Objective(
        ranking_weight=params.ranking_weight,
        align_weight=params.align_weight,
        anchor_weight=0.0,
        negatives=params.negatives,
        id_dropout=params.id_dropout,
        horizon=params.horizon,
        half_life_days=params.half_life_days,
        last_day=split.past.histories.last_day,
        aligned=known_V.nonzero().squeeze(1),
        twin_cosine=0.99,
    )
    scorer = _scorer(model, split, split.past)
    return Trained(model, fitting.fit(scorer, split.past.targets, params, objective))


def outcome(trained: Trained, split: Split) -> Measured:
    """The test, each model once."""
    scorer, targets = _scorer(trained.model, split, split.later), split.later.targets
    scored = ((users_B, score_BV) for users_B, score_BV, _ in chunks(scorer, targets.users))
    return measured(rank(scored, targets, 1).rank_P, targets, trained.curve)


def trend(split: Split, half_life_days: float) -> Measured:
    """The test by what was liked last in the past, the same for everybody."""
    later, videos = split.later, len(split.catalogue.id_row_V)
    score_V = trending(split.past.histories, videos, half_life_days)
    scored = (
        (users_B, score_V.expand(len(users_B), -1).masked_fill(later.seen.mask(users_B, videos), -torch.inf))
        for users_B in later.targets.users.split(users_at_once(videos))
    )
    return measured(rank(scored, later.targets, 1).rank_P, later.targets, [])


def measured(rank_P: Tensor, targets: Targets, curve: Curve) -> Measured:
    """The figures of these places."""
    users = targets.users
    at_P = torch.searchsorted(users, targets.user_P).numpy()
    figures = {"recall": recall, "ndcg": ndcg}
    found = {
        f"{name}@{k}": of(rank_P.numpy(), at_P, len(users), k) for name, of in figures.items() for k in KS
    }
    return Measured(found, curve)


def mean_of(run: Sequence[Measured], ks: Sequence[int] = KS) -> dict[str, float]:
    """The means of one model's seeds."""
    means = [one.means(ks) for one in run]
    return {name: round(float(np.mean([one[name] for one in means])), 4) for name in means[0]}


def difference(
    ours_: Sequence[Measured], theirs: Sequence[Measured], name: str, chosen_B: Floats | None = None
) -> dict:
    """Ours minus theirs, paired by user and seed: the mean and its 95 % bootstrap interval."""
    keep = slice(None) if chosen_B is None else chosen_B
    gaps = [a.per_user[name][keep] - b.per_user[name][keep] for a, b in zip(ours_, theirs, strict=True)]
    found = bootstrap(np.stack(gaps) if len(gaps) > 1 else gaps[0], BOOTSTRAP, 1)
    return {key: value if value is None else round(value, 4) for key, value in found.items()}


def say(*told: object) -> None:
    """Progress, beside the result."""
    print(*told, file=sys.stderr, flush=True)


def _scorer(model: InterestModel | Baseline, split: Split, moment: Moment) -> Scorer:
    return Scorer(model, split.catalogue, People(moment.histories, split.profiles, moment.seen))


def plain_histories(length_B: Tensor, video_E: Tensor, second_E: Tensor | None = None) -> Histories:
    """Histories of which nothing is known but the videos, all of them liked, and perhaps when."""
    E = len(video_E)
    second_E = torch.zeros(E, dtype=torch.long) if second_E is None else second_E
    did_EA = torch.zeros(E, len(BEHAVIOURS), dtype=torch.bool)
    did_EA[:, 0] = True
    return Histories(
        offsets=torch.nn.functional.pad(length_B.cumsum(0), (1, 0)),
        video_E=video_E,
        second_E=second_E,
        hour_E=second_E // 3600 % HOURS,
        ratio_E=torch.full((E,), torch.nan),
        did_EA=did_EA,
        sentiment_E=torch.full((E,), torch.nan),
        positive_E=torch.ones(E, dtype=torch.bool),
    )


def spec(videos: int, width: int, layers: int, heads: int, dropout: float, max_length: int) -> Spec:
    """A description with the sizes that ours and the baselines share."""
    return Spec(
        model="interest", fusion="attention", encoder="transformer", layers=layers, heads=heads,
        dropout=dropout, positions=True, profile=False, max_length=max_length, skip_below=0.2,
        positive_watch_ratio=0.5, width=width, modalities={}, fingerprints={}, behaviours=list(BEHAVIOURS),
        categories={}, numbers={}, video_numbers={}, video_ids=[str(i) for i in range(videos)],
    )  # fmt: skip
