"""A demo world, whose truth is known: what is planted in it, and what the model found of it.

Any folder that `python -m world make --out DIR` has written. The more viewings a person has, the more there
is to find: docs/experiments.md tells of the demo's world, and in parts of one with 600 people and 25 days.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks import world_lake, world_ranker, world_skips, world_truth
from contracts import params as parameters
from contracts.errors import InputError
from contracts.params import Params
from models.metrics import bootstrap, ndcg
from models.scoring import Scorer, Targets
from tasks import ablate, evaluate, train
from tasks.changes import changes
from tasks.pinned import Pinned

SEEDS = (1, 2, 3)
BOOTSTRAP = 2000
ABLATED = (
    "no sequence",
    "history hidden",
    "no profile",
    "shuffled content",
    "IDs only",
    "no alignment",
    "fusion uniform",
)


def measure(path: Path) -> tuple[dict, dict]:
    """Modality weights, drift, ceiling, skips, segment scores in the ranker, and ablations.

    Raises:
        InputError: the folder is no world, or too small a one.
    """
    with tempfile.TemporaryDirectory(prefix="undercurrent-world-") as folder:
        pinned = world_lake.run_night(path, Path(folder))
        params = parameters.load(pinned.night.params)
        truth = world_truth.Truth(path / "truth", pinned)
        table = world_lake.viewings(pinned)
        scorers = [learn(params, pinned, seed) for seed in SEEDS]
        figures = {
            "night": str(pinned.night.day),
            "seeds": len(SEEDS),
            **_found(pinned, truth, table, scorers),
            **_ranking(pinned, truth, scorers, params.evaluate.k),
        }
        print(f"world: {figures}", flush=True)
        skips = world_skips.prepare(pinned, table)
        figures["skips"], models = world_skips.figures(skips, SEEDS, BOOTSTRAP)
        figures["segment_scores_in_the_ranker"] = world_ranker.figures(
            pinned, table, skips, scorers, models, BOOTSTRAP
        )
        print(f"world: {figures}", flush=True)
        figures["ablations"] = ablations(params, pinned)
    skipped = figures["skips"]["hr@1"]
    return figures, {
        "ndcg@10_over_ceiling": round(figures["ndcg@10"] / figures["ndcg@10_ceiling"], 3),
        "hr@1_ours_over_position_only": round(skipped["ours"] / skipped["position_only"], 3),
    }


def learn(params: Params, pinned: Pinned, seed: int) -> Scorer:
    """The night's model of one seed, over the test day's histories."""
    train.learn(replace(params.train, seed=seed), pinned.night)
    return evaluate.load(pinned.night.folder("train"), pinned, pinned.seen("test"))


def _found(pinned: Pinned, truth: world_truth.Truth, table: pa.Table, scorers: list[Scorer]) -> dict:
    """Modality weights by what was known before the test day; drift by everything up to its end."""
    before, everything = pinned.histories("test"), world_lake.histories(table, pinned.users.num_rows)
    users = world_truth.watched_enough(truth, before)
    if len(users) < 2:
        raise InputError(
            f"nobody in this world has {world_truth.LEAST_EVENTS} viewings before {pinned.night.day};"
            " make one with a longer world.history_days"
        )
    alpha_SBM = [world_truth.learned_weights(scorer, before, users) for scorer in scorers]
    weights_BM = torch.tensor(np.mean(alpha_SBM, 0), dtype=torch.float32)
    changed = changes(scorers[0], everything, users, weights_BM, int(everything.lengths.max()))
    day = pinned.night.day
    return {
        "modality_weights": world_truth.agreement(alpha_SBM, truth, users, pinned.modalities),
        "viewings_a_person": round(float(before.lengths[users].float().mean()), 1),
        "drift": world_truth.drift_figures(changed.found, truth, changed.users, day) if changed.found else {},
    }


def _ranking(pinned: Pinned, truth: world_truth.Truth, scorers: list[Scorer], k: int) -> dict:
    """NDCG of ours, and of ranking by the truth."""
    aims = _of_people(evaluate.aims_of(pinned, pinned.seen("test")), truth)
    ours = [
        evaluate.per_user(ndcg, evaluate.rank_model(f"seed {seed}", scorer, aims, k)[0], aims, k)
        for seed, scorer in zip(SEEDS, scorers, strict=True)
    ]
    best = world_truth.ceiling(pinned, truth, aims, k)
    return {f"ndcg@{k}": round(float(np.mean(ours)), 4), f"ndcg@{k}_ceiling": round(float(best.mean()), 4)}


def _of_people(aims: Targets, truth: world_truth.Truth) -> Targets:
    """Without the bots: they have no truth."""
    known_P = torch.tensor([truth.people[row] is not None for row in aims.user_P.tolist()])
    return Targets(aims.user_P[known_P], aims.row_P[known_P])


def ablations(params: Params, pinned: Pinned) -> dict:
    """What each part is worth (`python -m tasks.ablate`), and shuffled content against IDs alone."""
    names = [*ABLATED, *(f"no {modality}" for modality in pinned.modalities)]
    found = ablate.run(params, pinned.night, len(SEEDS), names)
    told = {name: _told(one["everybody"]["difference"]) for name, one in found["variants"].items()}
    people = pq.read_table(pinned.night.folder("ablate") / "per_user.parquet")
    ndcg_SB = {
        name: np.stack([people[f"{name}, seed {seed}"].to_numpy() for seed in SEEDS]) for name in ABLATED
    }
    told["shuffled content minus IDs only"] = _told(
        bootstrap(ndcg_SB["shuffled content"] - ndcg_SB["IDs only"], BOOTSTRAP, 1)
    )
    return {"ndcg@10_full": round(found["variants"][ablate.FULL]["everybody"]["ndcg"], 4), **told}


def _told(interval: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: value and round(value, 4) for name, value in interval.items()}
