"""Ablate the alignment: leave out one part at a time, on two nights of one platform and several seeds.

The study aligns and trains the snapshots of two earlier nights again. The first night has no champion.
The second has the first night's model as its champion. It reports three figures of each variant:
- held-out cross-modal recall, the mean over pairs and directions,
- embedding drift from the champion,
- validation NDCG@10 of the trained model.
The last line is the JSON result.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.result import publish_result
from core import config as parameters
from core.paths import PROJECT_ROOT, Night, parse_day
from core.schema import replace_nested
from models.bundle import load_bundle
from models.evaluation.embedding_drift import max_p95_drift
from models.interest_model import InterestModel
from models.layers import projections
from registry import tracking
from research.studies import RESULTS
from snapshots.champion_space import read_champion_space
from snapshots.reader import SnapshotReader
from tasks import align, train

# Name -> changed parameters of align and of train, by dotted path, and whether there is a champion.
FIRST_NIGHT_VARIANTS: Mapping[str, tuple[dict, dict, bool]] = {
    "default": ({}, {}, False),
    "fixed temperature": ({}, {}, False),
    "near duplicates as negatives": ({"near_duplicate_cosine": 2.0}, {}, False),
    "not aligned": ({"epochs": 0}, {}, False),
}
SECOND_NIGHT_VARIANTS: Mapping[str, tuple[dict, dict, bool]] = {
    "default": ({}, {}, True),
    "cold start": ({}, {}, False),
    "warm start, no anchor": (
        {"anchor_weight": 0.0, "max_embedding_drift": 2.0},
        {"model.objective.anchor_weight": 0.0},
        True,
    ),
}


def main() -> int:
    """Run the study. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m research.studies.alignment", description=__doc__)
    for name in ("first", "second"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"workspace of the {name} night")
    parser.add_argument(
        "--params",
        type=Path,
        default=PROJECT_ROOT / "params.yaml",
        help="parameter file (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="number of trainings of each variant (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="write research/results/alignment.json")
    args = parser.parse_args()
    runs_by_variant: dict[str, list[dict[str, float]]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="undercurrent-alignment-") as folder,
        mock.patch.object(tracking, "log_run", return_value="not logged"),
    ):
        for seed in range(1, args.seeds + 1):
            champion = Path(folder) / f"champion-{seed}"
            for night, source, variants in (
                ("first", args.first, FIRST_NIGHT_VARIANTS),
                ("second", args.second, SECOND_NIGHT_VARIANTS),
            ):
                for name, variant in variants.items():
                    result = run_variant(
                        Path(folder) / "night", source, champion, args.params, seed, name, variant
                    )
                    runs_by_variant.setdefault(f"{night} night, {name}", []).append(result)
                    print(f"seed {seed}, {night} night, {name}: {result}", file=sys.stderr)
                    if (night, name) == ("first", "default"):
                        shutil.copytree(Path(folder) / "night" / "train", champion)
    figures = {
        name: {key: mean_and_sd([run[key] for run in runs]) for key in runs[0]}
        for name, runs in runs_by_variant.items()
    }
    publish_result("alignment", figures, {}, args.keep, RESULTS)
    return 0


def run_variant(
    workspace: Path,
    source: Path,
    champion: Path,
    params_path: Path,
    seed: int,
    name: str,
    variant: tuple[dict, dict, bool],
) -> dict[str, float]:
    """Align and train a night's snapshot once.

    Args:
        workspace: folder for the run; it is emptied first.
        source: workspace of the earlier night.
        champion: folder of the champion's bundle, which may be missing.
        name: name of the variant.
        variant: changes for align, changes for train, whether there is a champion.

    Returns:
        the figures of the run.
    """
    shutil.rmtree(workspace, ignore_errors=True)
    snapshot = workspace / "snapshot"
    shutil.copytree(source / "snapshot", snapshot, ignore=shutil.ignore_patterns("champion"))
    align_changes, train_changes, has_champion = variant
    if champion.is_dir():
        shutil.copytree(champion, snapshot / "champion")  # embedding drift is always measured
    night = Night(
        parse_day(SnapshotReader(Night(parse_day("2000-01-01"), workspace)).manifest["night"]), workspace
    )
    params = parameters.load_params(params_path)
    space = read_champion_space(SnapshotReader(night), params.align.width)
    if not has_champion:
        shutil.rmtree(snapshot / "champion", ignore_errors=True)
    bounds = (params.align.temperature,) * 2 if name == "fixed temperature" else projections.TEMPERATURE_RANGE
    with mock.patch.object(projections, "TEMPERATURE_RANGE", bounds):
        aligned = align.run(replace(params.align, seed=seed, **align_changes), night).facts
    trained = train.run(replace_nested(params.train, {"seed": seed, **train_changes}), night).facts
    recall = mean_recall(aligned["modality_pairs"])
    model = load_bundle(night.folder("train"))
    assert isinstance(model, InterestModel)
    embedding_drift = (
        {"embedding_drift_after_train": max_p95_drift(space.embedding_drift(model.item_fusion.projections))}
        if space.projections
        else {}
    )
    return {
        **recall,
        "temperature": aligned["temperature"],
        "epoch": aligned["best_epoch"],
        "embedding_drift_after_align": max_p95_drift(aligned["embedding_drift"]),
        **embedding_drift,
        "choice_log_likelihood": trained["best_choice_log_likelihood"],
    }


def mean_recall(pairs: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return recall and its chance level, as means over the pairs and both directions.

    Args:
        pairs: modality pair -> figures, as `align` reports them.
    """
    recalls: dict[str, float] = {}
    for metric in ("recall@1", "recall@10"):
        directions = [
            direction[metric]
            for pair in pairs.values()
            for key, direction in pair.items()
            if key.startswith("from_")
        ]
        recalls |= {
            metric: float(np.mean(directions)),
            f"chance_{metric}": float(np.mean([p["chance"][metric] for p in pairs.values()])),
        }
    return recalls


def mean_and_sd(values: list[float]) -> dict[str, float]:
    """Return mean and standard deviation over the seeds."""
    return {"mean": round(float(np.mean(values)), 4), "sd": round(float(np.std(values)), 4)}


if __name__ == "__main__":
    sys.exit(main())
