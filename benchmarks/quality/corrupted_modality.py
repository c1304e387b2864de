"""Train a night whose videos have a wrong modality, with and without a defence, and compare.

In a copy of the snapshot one modality of a share of its videos is replaced: half of them get noise, half the
vector of another video. All days have the same wrong vectors. Then align, train and evaluate run with each
parameter file. The last line is the JSON result: NDCG@10 of each file, and the mean reliability of the wrong
and of the true vectors if the model has a gate (`train.model.reliability`).
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from benchmarks.quality.nights import run_command
from benchmarks.result import publish_result
from core.errors import REFUSED_INPUT, InputError
from core.paths import Night, parse_day
from models.bundle import load_bundle
from models.interest_model import InterestModel
from snapshots.reader import SnapshotReader

STEPS = ("align", "train", "evaluate")
Bools = NDArray[np.bool_]


def main() -> int:
    """Run the benchmark.

    Returns:
        0: done. 2: the night or a parameter is refused.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality.corrupted_modality", description=__doc__
    )
    parser.add_argument("--workspace", type=Path, required=True, help="folder of a night with its snapshot")
    parser.add_argument("--night", required=True, help="day of that night, YYYY-MM-DD")
    parser.add_argument("--modality", default="audio", help="modality to corrupt (default: %(default)s)")
    parser.add_argument("--share", type=float, default=0.5, help="share of videos (default: %(default)s)")
    parser.add_argument("--params", type=Path, nargs="+", required=True, help="parameter files to compare")
    parser.add_argument(
        "--keep", action="store_true", help="write benchmarks/results/corrupted-modality.json"
    )
    args = parser.parse_args()
    figures = {}
    with tempfile.TemporaryDirectory(prefix="undercurrent-corrupted-") as folder:
        try:
            for params_path in args.params:
                figures[params_path.stem] = measure(args, params_path, Path(folder) / params_path.stem)
        except InputError as error:
            print(f"corrupted_modality: refused: {error}", file=sys.stderr)
            return REFUSED_INPUT
    setting = {"modality": args.modality, "share": args.share}
    publish_result("corrupted-modality", {**setting, **figures}, {}, args.keep)
    return 0


def measure(args: argparse.Namespace, params_path: Path, home: Path) -> dict:
    """Corrupt a copy of the snapshot, train and evaluate with one parameter file, and return the figures.

    Args:
        args: The command line.
        params_path: Parameter file of the steps.
        home: Folder that becomes UNDERCURRENT_HOME.

    Raises:
        InputError: The snapshot has no such modality, or a step refused its input.
    """
    night = Night(parse_day(args.night), home / "night", params_path)
    shutil.copytree(args.workspace / "snapshot", night.workspace / "snapshot")
    features_path = night.workspace / "snapshot" / "features.safetensors"
    features = load_file(features_path)
    if args.modality not in features:
        raise InputError(f"--modality is {args.modality}, but {features_path} has none; choose another one")
    corrupted, is_wrong_V = corrupt(features, args.modality, args.share)
    save_file(corrupted, features_path)
    for step in STEPS:
        arguments = ("--night", args.night, "--workspace", night.workspace, "--params", params_path)
        if run_command(home, f"tasks.{step}", *map(str, arguments)):
            raise InputError(f"{params_path}: step {step} refused the night; see its message above")
    details = json.loads((night.workspace / "evaluate" / "details.json").read_text(encoding="utf-8"))
    ndcg = round(details["models"]["challenger"]["ndcg@10"], 4)
    return {"ndcg@10": ndcg, **mean_reliability(night, args.modality, is_wrong_V)}


def corrupt(features: Mapping[str, NDArray], modality: str, share: float) -> tuple[dict[str, NDArray], Bools]:
    """Return the features with a wrong modality of some videos, and which videos, bool [V].

    Args:
        features: Tensors of the snapshot.
        modality: The modality to corrupt.
        share: Share of the videos that have it.
    """
    random, x_VF = np.random.default_rng(1), features[modality].copy()
    rows = np.flatnonzero(features[f"{modality}.mask"])
    wrong_rows = random.permutation(rows)[: round(share * len(rows))]
    noise_rows, mismatched_rows = np.array_split(wrong_rows, 2)
    known_VF = features[modality][rows].astype(np.float32)
    noise = random.standard_normal((len(noise_rows), x_VF.shape[1])) * known_VF.std(0) + known_VF.mean(0)
    x_VF[noise_rows] = noise.astype(x_VF.dtype)
    x_VF[mismatched_rows] = features[modality][random.choice(rows, len(mismatched_rows))]
    return {**features, modality: x_VF}, np.isin(np.arange(len(x_VF)), wrong_rows)


@torch.no_grad()
def mean_reliability(night: Night, modality: str, is_wrong_V: Bools) -> dict[str, float]:
    """Return the mean reliability of the wrong and of the true vectors. Empty if the model has no gate.

    Args:
        night: The night, after the step train.
        modality: The corrupted modality.
        is_wrong_V: Videos with a wrong vector.
    """
    model = load_bundle(night.folder("train"))
    gate = model.item_fusion.reliability if isinstance(model, InterestModel) else None
    if gate is None:
        return {}
    assert isinstance(model, InterestModel)
    snapshot = SnapshotReader(night)
    item_table = snapshot.item_table(model.config.modalities, model.config.video_ids)
    logit_VM = gate(model.item_fusion.projections(item_table), item_table.has_VM)
    column = list(model.config.modalities).index(modality)
    judged_V = item_table.has_VM[:, column] & (item_table.has_VM.sum(1) > 1)
    r_V, wrong_V = torch.sigmoid(logit_VM[:, column]), torch.from_numpy(is_wrong_V)
    groups = {"reliability_of_wrong": judged_V & wrong_V, "reliability_of_true": judged_V & ~wrong_V}
    return {name: round(float(r_V[rows_V].mean()), 3) for name, rows_V in groups.items()}


if __name__ == "__main__":
    sys.exit(main())
