"""What alignment's parts are worth: each left out in turn, on two nights of one platform, over some seeds.

The snapshots of two nights that were run before are aligned and trained again: the first without a champion,
the second with the first one's model as its champion. Told are held-out cross-modal recall (mean over pairs
and directions), the drift of the space against the champion's, and the validation NDCG@10 of the trained
model. The last line is the JSON result.
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

from benchmarks.result import publish
from contracts import params as parameters
from contracts.place import PROJECT, Night, parse_day
from models import fusion
from models.alignment import farthest
from models.bundle import load_bundle
from models.interest import InterestModel
from tasks import align, tracking, train
from tasks.pinned import Pinned
from tasks.space import served

FREE = {"anchor_weight": 0.0}
# name -> changed parameters of align, of train, and whether there is a champion
COLD: Mapping[str, tuple[dict, dict, bool]] = {
    "as it is": ({}, {}, False),
    "fixed temperature": ({}, {}, False),
    "twins as negatives": ({"twin_cosine": 2.0}, {}, False),
    "not aligned": ({"epochs": 0}, {}, False),
}
WARM: Mapping[str, tuple[dict, dict, bool]] = {
    "as it is": ({}, {}, True),
    "cold start": ({}, {}, False),
    "warm, not anchored": (FREE | {"max_drift": 2.0}, FREE, True),
}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alignment", description=__doc__)
    for name in ("first", "second"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"workspace of the {name} night")
    parser.add_argument("--params", type=Path, default=PROJECT / "params.yaml", help="default: %(default)s")
    parser.add_argument(
        "--seeds", type=int, default=3, help="trainings of each variant (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/alignment.json")
    args = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="undercurrent-alignment-") as folder,
        mock.patch.object(tracking, "log_run", return_value="not logged"),
    ):
        for seed in range(1, args.seeds + 1):
            champion = Path(folder) / f"champion-{seed}"
            for night, source, variants in (("first", args.first, COLD), ("second", args.second, WARM)):
                for name, variant in variants.items():
                    one = one_run(Path(folder) / "night", source, champion, args.params, seed, name, variant)
                    found.setdefault(f"{night} night, {name}", []).append(one)
                    print(f"seed {seed}, {night} night, {name}: {one}", file=sys.stderr)
                    if (night, name) == ("first", "as it is"):
                        shutil.copytree(Path(folder) / "night" / "train", champion)
    figures = {
        name: {key: told([run[key] for run in runs]) for key in runs[0]} for name, runs in found.items()
    }
    publish("alignment", figures, {}, args.keep)
    return 0


def one_run(
    workspace: Path,
    source: Path,
    champion: Path,
    params_path: Path,
    seed: int,
    name: str,
    variant: tuple[dict, dict, bool],
) -> dict[str, float]:
    """Align and train a night's snapshot once; what came of it."""
    shutil.rmtree(workspace, ignore_errors=True)
    snapshot = workspace / "snapshot"
    shutil.copytree(source / "snapshot", snapshot, ignore=shutil.ignore_patterns("champion"))
    in_align, in_train, warm = variant
    if champion.is_dir():
        shutil.copytree(champion, snapshot / "champion")  # drift is measured in any case
    night = Night(parse_day(Pinned(Night(parse_day("2000-01-01"), workspace)).manifest["night"]), workspace)
    params = parameters.load(params_path)
    space = served(Pinned(night), params.align.width)
    if not warm:
        shutil.rmtree(snapshot / "champion", ignore_errors=True)
    bounds = (params.align.temperature,) * 2 if name == "fixed temperature" else fusion.TEMPERATURES
    with mock.patch.object(fusion, "TEMPERATURES", bounds):
        aligned = align.run(replace(params.align, seed=seed, **in_align), night).facts
    trained = train.run(replace(params.train, seed=seed, **in_train), night).facts
    recall = mean_recall(aligned["pairs"])
    model = load_bundle(night.folder("train"))
    assert isinstance(model, InterestModel)
    moved = {"drift_of_the_bundle": farthest(space.drift(model.fusion.project))} if space.last else {}
    return {
        **recall,
        "temperature": aligned["temperature"],
        "epoch": aligned["epoch"],
        "drift_of_align": farthest(aligned["drift"]),
        **moved,
        "ndcg@10": trained["best_ndcg@10"],
    }


def mean_recall(pairs: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Recall and chance, means over the pairs and both directions."""
    found: dict[str, float] = {}
    for cut in ("recall@1", "recall@10"):
        ways = [one[cut] for pair in pairs.values() for key, one in pair.items() if key.startswith("from_")]
        found |= {
            cut: float(np.mean(ways)),
            f"chance_{cut}": float(np.mean([p["chance"][cut] for p in pairs.values()])),
        }
    return found


def told(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation over the seeds."""
    return {"mean": round(float(np.mean(values)), 4), "sd": round(float(np.std(values)), 4)}


if __name__ == "__main__":
    sys.exit(main())
