"""A simulated platform with known ground truth: how much of it does the model recover?

The input is a folder that `python -m simulator make --out DIR` wrote. docs/experiments has results for the
demo's platform, and for 600 users and 25 days.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.quality import simulator_lake, simulator_truth
from benchmarks.result import round_interval
from core import config as parameters
from core.config import Params
from core.errors import InputError
from evaluation.metrics import metric_per_user
from evaluation.ranking import load_scorer, rank_model, read_test_targets
from models.data.targets import Targets
from models.evaluation.metrics import ndcg, paired_bootstrap
from models.evaluation.scoring import Scorer
from simulator.ground_truth import FOLDER_NAME
from snapshots.reader import SnapshotReader
from tasks import train
from undercurrent import ablate
from undercurrent.ablation_variants import FULL

SEEDS = (1, 2, 3)
BOOTSTRAP_SAMPLES = 2000
ABLATED = (
    "no sequence",
    "sequence hidden",
    "no profile",
    "shuffled content",
    "IDs only",
    "no alignment",
    "fusion uniform",
)


def measure(path: Path) -> tuple[dict, dict]:
    """Measure modality weights, ranking and ablations.

    Args:
        path: folder of the simulation.

    Returns:
        figures and ratios.

    Raises:
        InputError: the folder holds no simulation, or the simulation is too small.
    """
    with tempfile.TemporaryDirectory(prefix="undercurrent-simulator-") as folder:
        snapshot = simulator_lake.run_night(path, Path(folder))
        params = parameters.load_params(snapshot.night.params_path)
        ground_truth = simulator_truth.GroundTruth(path / FOLDER_NAME, snapshot)
        scorers = [train_scorer(params, snapshot, seed) for seed in SEEDS]
        figures = {
            "night": str(snapshot.night.day),
            "seeds": len(SEEDS),
            **_ground_truth_metrics(snapshot, ground_truth, scorers),
            **_ranking_metrics(snapshot, ground_truth, scorers, params.evaluate.k),
        }
        print(f"simulator: {figures}", flush=True)
        figures["ablations"] = run_ablations(params, snapshot)
    return figures, {"ndcg@10_over_oracle": round(figures["ndcg@10"] / figures["ndcg@10_oracle"], 3)}


def train_scorer(params: Params, snapshot: SnapshotReader, seed: int) -> Scorer:
    """Train the night's model with one seed. Its scorer reads the sequences before the test day."""
    train.train_and_save(replace(params.train, seed=seed), snapshot.night)
    return load_scorer(snapshot.night.folder("train"), snapshot)


def _ground_truth_metrics(
    snapshot: SnapshotReader,
    ground_truth: simulator_truth.GroundTruth,
    scorers: list[Scorer],
) -> dict:
    """Measure modality weights from the sequences before the test day."""
    sequences_before = snapshot.sequences("test")
    users = simulator_truth.select_users(ground_truth, sequences_before)
    if len(users) < 2:
        raise InputError(
            f"fewer than 2 users have {simulator_truth.MIN_EVENTS} interactions before {snapshot.night.day}; "
            "simulate again with more simulator.history_days"
        )
    alpha_RBM = [
        simulator_truth.learned_modality_weights(scorer, sequences_before, users) for scorer in scorers
    ]
    return {
        "modality_weights": simulator_truth.weight_correlation(
            alpha_RBM, ground_truth, users, snapshot.modalities
        ),
        "interactions_per_user": round(float(sequences_before.lengths[users].float().mean()), 1),
    }


def _ranking_metrics(
    snapshot: SnapshotReader, ground_truth: simulator_truth.GroundTruth, scorers: list[Scorer], k: int
) -> dict:
    """Measure NDCG of the model and of an oracle that ranks by the ground truth."""
    targets = _without_bots(read_test_targets(scorers[0], snapshot), ground_truth)
    model_ndcg = [
        metric_per_user(ndcg, rank_model(f"seed {seed}", scorer, targets, k)[0], targets, k)
        for seed, scorer in zip(SEEDS, scorers, strict=True)
    ]
    ceiling_ndcg = simulator_truth.ceiling_ndcg(snapshot, ground_truth, targets, k)
    return {
        f"ndcg@{k}": round(float(np.mean(model_ndcg)), 4),
        f"ndcg@{k}_oracle": round(float(ceiling_ndcg.mean()), 4),
    }


def _without_bots(targets: Targets, ground_truth: simulator_truth.GroundTruth) -> Targets:
    """Remove the targets of bots, which have no ground truth."""
    known_P = torch.tensor([ground_truth.users[row] is not None for row in targets.user_P.tolist()])
    return Targets(targets.user_P[known_P], targets.row_P[known_P])


def run_ablations(params: Params, snapshot: SnapshotReader) -> dict:
    """Measure the effect of each part, and compare shuffled content with IDs only."""
    names = [*ABLATED, *(f"no {modality}" for modality in snapshot.modalities)]
    result = ablate.run(params, snapshot.night, len(SEEDS), names)
    differences = {
        name: round_interval(variant["all_users"]["difference"])
        for name, variant in result["variants"].items()
    }
    per_user = pq.read_table(snapshot.night.folder("ablate") / "per_user.parquet")
    ndcg_RB = {
        name: np.stack([per_user[f"{name}, seed {seed}"].to_numpy() for seed in SEEDS]) for name in ABLATED
    }
    differences["shuffled content minus IDs only"] = round_interval(
        paired_bootstrap(ndcg_RB["shuffled content"] - ndcg_RB["IDs only"], BOOTSTRAP_SAMPLES, 1)
    )
    return {"ndcg@10_full": round(result["variants"][FULL]["all_users"]["ndcg"], 4), **differences}
