"""Compare variants of the sequence model on one night, paired by user.

The night has its snapshot. Align runs once. Then each variant is trained on the days before the validation
days, which select its epoch, and ranks the test day alone: without sources, final ranker and second training.
So a variant costs one training, and no source hides a difference. The first variant is the section
`train.model` of the parameter file. Each other one changes keys of it, such as `fusion=late` or
`fusion=uniform,reliability=true`.

With `--corrupt` one modality of a share of the videos is wrong, on all days: half of them get noise, half the
vector of another video. The last line is the JSON result.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from benchmarks.result import publish_result, round_interval
from core.config import Params, read_values
from core.config.models import InterestModelConfig
from core.errors import REFUSED_INPUT, InputError
from core.paths import Night, parse_day
from core.schema import build_dataclass
from core.time_split import TEST_FOLD
from models.evaluation.metrics import Floats, ndcg, paired_bootstrap
from models.evaluation.scoring import Scorer, rank_catalogue, score_in_chunks
from models.interest_model import InterestModel
from models.seeding import seed_everything
from snapshots.reader import SnapshotReader
from tasks import align
from training.interest import bounded_horizon, fit_interest_model
from training.model_config import build_model_config
from training.setup import build_training_setup
from training.validation import NdcgValidation

K, BOOTSTRAP_SAMPLES = 10, 2000
UNCHANGED = "unchanged"
Bools = NDArray[np.bool_]


def main() -> int:
    """Run the benchmark.

    Returns:
        0: done. 2: the night or a variant is refused.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.model_variants", description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True, help="folder of a night with its snapshot")
    parser.add_argument("--night", required=True, help="day of that night, YYYY-MM-DD")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="parameter file")
    parser.add_argument("--variants", nargs="*", default=(), help="changed keys of train.model, KEY=VALUE,…")
    parser.add_argument("--epochs", type=int, help="most epochs (default: train.epochs)")
    parser.add_argument("--corrupt", help="modality to corrupt (default: none)")
    parser.add_argument(
        "--share", type=float, default=0.5, help="share of wrong videos (default: %(default)s)"
    )
    parser.add_argument("--name", default="model-variants", help="name of the result (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/<name>.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="undercurrent-variants-") as folder:
        try:
            figures = compare(args, Path(folder))
        except InputError as error:
            print(f"model_variants: refused: {error}", file=sys.stderr)
            return REFUSED_INPUT
    publish_result(args.name, figures, {}, args.keep)
    return 0


def compare(args: argparse.Namespace, folder: Path) -> dict[str, dict]:
    """Train and test all variants, and return the figures of each.

    Args:
        args: The command line.
        folder: An empty folder for the copy of the night.

    Raises:
        InputError: The snapshot lacks a file or the modality, or a variant is refused.
    """
    night = Night(parse_day(args.night), folder, args.params)
    shutil.copytree(args.workspace / "snapshot", folder / "snapshot")
    is_wrong_V = _corrupt_snapshot(folder, args.corrupt, args.share) if args.corrupt else None
    align.run(variant_params(args.params, "", args.epochs).align, night)
    figures: dict[str, dict] = {}
    ndcg_by_variant: dict[str, Floats] = {}
    for variant in ("", *args.variants):
        name, params = variant or UNCHANGED, variant_params(args.params, variant, args.epochs)
        ndcg_by_variant[name], scorer, figures[name] = train_variant(params, SnapshotReader(night))
        difference = ndcg_by_variant[name] - ndcg_by_variant[UNCHANGED]
        interval = paired_bootstrap(difference, BOOTSTRAP_SAMPLES, 1)
        figures[name]["minus_unchanged"] = round_interval(interval)
        if is_wrong_V is not None:
            figures[name] |= mean_reliability(scorer, args.corrupt, is_wrong_V)
        print(name, figures[name], file=sys.stderr)
    return figures


def variant_params(path: Path, variant: str, epochs: int | None) -> Params:
    """Return the parameters of a variant. Its ranking has no sources and no second stage.

    Args:
        path: The parameter file.
        variant: KEY=VALUE, separated by commas. Empty: nothing is changed.
        epochs: Most epochs. None: those of the file.

    Raises:
        InputError: The file or a key or value of the variant is refused.
    """
    values = read_values(path)
    pairs = [change.partition("=") for change in variant.split(",")] if variant else []
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise InputError(f"--variants: {wrong[0]!r} has no value; write KEY=VALUE, such as fusion=late")
    changes = {key: value for key, _, value in pairs}
    values["train"]["model"] |= {"sources": [], **{key: yaml.safe_load(x) for key, x in changes.items()}}
    values["train"]["epochs"] = epochs or values["train"]["epochs"]
    return build_dataclass(Params, values, f"{path}, variant {variant or UNCHANGED}")


def train_variant(params: Params, snapshot: SnapshotReader) -> tuple[Floats, Scorer, dict[str, float]]:
    """Train a variant, and rank the test day.

    Returns:
        NDCG@10 of each user with a target, the trained model on the test day, and the figures.

    Raises:
        InputError: The parameters are refused, or a file of the snapshot is damaged.
    """
    model = params.train.model
    assert isinstance(model, InterestModelConfig)
    first_fold = snapshot.validation_folds[0]
    seed_everything(params.train.seed)
    config = build_model_config(model, snapshot, first_fold, params.align.width)
    folds = [snapshot.fold(name, config) for name in snapshot.validation_folds]
    objective = replace(model.objective, horizon=bounded_horizon(model.objective.horizon, folds))
    setup = build_training_setup(objective, snapshot, config, first_fold)
    start = time.process_time()
    curve = fit_interest_model(
        setup.scorer, NdcgValidation(folds), params.train, setup.objective, params.train.epochs
    )
    seconds = time.process_time() - start
    test = snapshot.fold(TEST_FOLD, config)
    scorer = setup.scorer.on_fold(test)
    chunks = (
        (users_B, score_BV) for users_B, score_BV, _ in score_in_chunks(scorer, test.targets.users, False)
    )
    ranked = rank_catalogue(chunks, test.targets, K)
    users = test.targets.users
    position_P = torch.searchsorted(users, test.targets.user_P)
    ndcg_B = ndcg(ranked.rank_P.numpy(), position_P.numpy(), len(users), K)
    lengths_U = setup.model.read_lengths(setup.scorer.user_data.sequences)
    figures = {
        "ndcg@10": round(float(ndcg_B.mean()), 4),
        "validation_ndcg@10": round(max(row.get(NdcgValidation.metric, 0.0) for row in curve), 4),
        "cpu_s_per_epoch": round(seconds / len(curve), 2),
        "interactions": int(lengths_U.sum()),
    }
    return ndcg_B, scorer, figures


def _corrupt_snapshot(folder: Path, modality: str, share: float) -> Bools:
    """Corrupt the features of a copied snapshot, and return which videos have a wrong vector, [V].

    Raises:
        InputError: The snapshot has no such modality.
    """
    path = folder / "snapshot" / "features.safetensors"
    features = load_file(path)
    if modality not in features:
        raise InputError(
            f"--corrupt is {modality}, but the snapshot has no such modality; choose another one"
        )
    corrupted, is_wrong_V = corrupt(features, modality, share)
    save_file(corrupted, path)
    return is_wrong_V


def corrupt(features: Mapping[str, Any], modality: str, share: float) -> tuple[dict[str, Any], Bools]:
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
def mean_reliability(scorer: Scorer, modality: str, is_wrong_V: Bools) -> dict[str, float]:
    """Return the mean reliability of the wrong and of the true vectors. Empty if the model has no gate."""
    assert isinstance(scorer.model, InterestModel)
    fusion, has_VM = scorer.model.item_fusion, scorer.item_table.has_VM
    if fusion.reliability is None:
        return {}
    column = list(scorer.model.config.modalities).index(modality)
    r_V = torch.sigmoid(fusion.reliability(fusion.projections(scorer.item_table), has_VM)[:, column])
    judged_V, wrong_V = has_VM[:, column] & (has_VM.sum(1) > 1), torch.from_numpy(is_wrong_V)
    groups = {"reliability_of_wrong": judged_V & wrong_V, "reliability_of_true": judged_V & ~wrong_V}
    return {name: round(float(r_V[rows_V].mean()), 3) for name, rows_V in groups.items()}


if __name__ == "__main__":
    sys.exit(main())
