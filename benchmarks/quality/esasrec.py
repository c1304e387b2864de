"""Compare our SASRec and eSASRec with RecTools' implementations on the quality of one data set.

Both sides have the same split, sizes, learning rate, number of negatives, patience and full ranking. They
differ in what the implementations decide: SASRec's layers, initial weights, biases and the logQ correction.
RecTools runs in its own environment, which uv makes. Training stops when validation NDCG@10 has not improved
for --patience epochs.

On one core a model of ours takes up to an hour on Beauty, and hours on MovieLens-1M. RecTools takes several
times as long. --users takes a sample. The last line is the JSON result.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.quality.rectools_sasrec import Comparison, SequentialSettings
from benchmarks.quality.sets.protocol import (
    ModelResult,
    compute_result,
    evaluate_model,
    log_progress,
    make_model_config,
    paired_difference,
    train_baseline,
)
from benchmarks.result import publish_result
from benchmarks.speed.training import python_command
from core.errors import REFUSED_INPUT, InputError
from core.paths import PROJECT_ROOT
from datasets import beauty, movielens1m
from datasets.leave_last_out import split_leave_last_out
from datasets.split import SplitDataset
from models.training.baselines import BaselineTrainingConfig

MODELS = ("sasrec", "esasrec")
METRICS = ("recall@10", "ndcg@10")
# The settings that the command line can replace.
OPTIONS = {
    "epochs": int,
    "patience": int,
    "batch_size": int,
    "dropout": float,
    "learning_rate": float,
    "num_negatives": int,
    "max_length": int,
    "seed": int,
}


@dataclass(frozen=True)
class ComparedSet:
    """A data set with the settings of its models.

    Attributes:
        read_sequences: reads the items of each user from a folder.
        settings: of both models. `name` is replaced.
        published: model -> Recall@10 and NDCG@10 in the eSASRec paper (arXiv 2508.06450).
    """

    read_sequences: Callable[[Path], list[list[int]]]
    settings: SequentialSettings
    published: dict[str, tuple[float, float]]


SETS = {
    "beauty": ComparedSet(
        beauty.read_sequences,
        SequentialSettings("", 64, 2, 2, 0.5, 50, 256, 0.001, 128, 200, 10, 1),
        {"sasrec": (0.0921, 0.0531), "esasrec": (0.0928, 0.0523)},
    ),
    "movielens1m": ComparedSet(
        movielens1m.read_sequences,
        SequentialSettings("", 64, 2, 2, 0.2, 200, 256, 0.001, 64, 200, 10, 1),
        {"sasrec": (0.2929, 0.1684), "esasrec": (0.3133, 0.1772)},
    ),
}


def main() -> int:
    """Run the benchmark.

    Returns:
        0: done. 2: the data is refused.
    """
    args = _build_parser().parse_args()
    chosen = SETS[args.set]
    changes = {name: value for name in OPTIONS if (value := getattr(args, name)) is not None}
    settings = replace(chosen.settings, **changes)
    try:
        sequences = chosen.read_sequences(args.path)
        if args.users:
            sequences = sample_users(sequences, args.users, settings.seed)
    except InputError as error:
        print(f"quality: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    figures, ratios = compare(split_leave_last_out(sequences), settings, args.models, args.peers)
    if not args.users:
        ratios |= {
            f"{name}_over_published_{metric}": round(figures[name][metric] / value, 3)
            for name in args.models
            for metric, value in zip(METRICS, chosen.published[name], strict=True)
        }
    sample = [f"{args.users}-users"] if args.users else []
    publish_result("-".join(["esasrec", args.set, *sample]), figures, ratios, args.keep)
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality.esasrec",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--set", required=True, choices=sorted(SETS), help="name of the data set")
    parser.add_argument("--path", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="default: both")
    parser.add_argument("--peers", action="store_true", help="train RecTools' models too")
    parser.add_argument("--users", type=int, help="size of a random sample of users (default: all users)")
    for name, kind in OPTIONS.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, dest=name, type=kind, help="default: the setting of the data set")
    parser.add_argument("--keep", action="store_true", help="write the result to benchmarks/results/")
    return parser


def sample_users(sequences: list[list[int]], num_users: int, seed: int) -> list[list[int]]:
    """Return the sequences of a random sample of the users.

    Raises:
        InputError: there are not that many users.
    """
    if not 0 < num_users <= len(sequences):
        raise InputError(f"--users is {num_users}; write a number from 1 to {len(sequences)}")
    users = np.random.default_rng(seed).permutation(len(sequences))[:num_users]
    return [sequences[user] for user in sorted(users)]


def compare(
    dataset: SplitDataset, settings: SequentialSettings, models: list[str], with_peers: bool
) -> tuple[dict, dict]:
    """Train and evaluate our models, and those of RecTools if `with_peers`.

    Returns:
        Recall@k and NDCG@k of each model with its seconds, the differences of ours to RecTools' by user, and
        their ratios.
    """
    results: dict[str, ModelResult] = {}
    figures: dict = {
        "settings": {key: value for key, value in asdict(settings).items() if key != "name"},
        "users": len(dataset.train.sequences.lengths),
    }
    ratios: dict[str, float] = {}
    sides = {"": run_ours, **({"rectools_": run_rectools} if with_peers else {})}
    for model in models:
        for prefix, run in sides.items():
            name, start = f"{prefix}{model}", time.perf_counter()
            results[name] = run(dataset, replace(settings, name=model))
            figures[name] = results[name].mean_metrics() | {
                "training": results[name].training_summary(),
                "seconds": round(time.perf_counter() - start),
            }
            log_progress(name, figures[name])
        if with_peers:
            ours, theirs = results[model], results[f"rectools_{model}"]
            figures[f"{model}_minus_rectools"] = {
                metric: paired_difference([ours], [theirs], metric) for metric in METRICS
            }
            ratios |= {
                f"{model}_over_rectools_{metric}": round(
                    figures[model][metric] / max(figures[f"rectools_{model}"][metric], 1e-9), 3
                )
                for metric in METRICS
            }
    return figures, ratios


def run_ours(dataset: SplitDataset, settings: SequentialSettings) -> ModelResult:
    """Train and evaluate our model."""
    num_items = int((dataset.item_table.id_row_V >= 0).sum())
    config = make_model_config(
        num_items, settings.width, settings.layers, settings.heads, settings.dropout, settings.max_length
    )
    hyperparameters = BaselineTrainingConfig(
        settings.epochs,
        settings.patience,
        settings.batch_size,
        settings.learning_rate,
        0.0,  # RecTools trains with Adam, without weight decay
        5.0,
        settings.seed,
        "events",
    )
    config = replace(config, num_negatives=settings.num_negatives, share_negatives=False)
    return evaluate_model(train_baseline(settings.name, dataset, config, hyperparameters), dataset)


def run_rectools(dataset: SplitDataset, settings: SequentialSettings) -> ModelResult:
    """Train and evaluate RecTools' model in its own process and environment.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    train, test = dataset.train, dataset.test
    with tempfile.TemporaryDirectory(prefix="undercurrent-esasrec-") as name:
        folder = Path(name)
        Comparison(
            train.sequences.offsets.numpy(),
            train.sequences.video_E.numpy(),
            train.targets.row_P.numpy(),
            test.targets.row_P.numpy(),
            settings,
        ).save(folder)
        command = [*python_command("rectools"), "-m", "benchmarks.quality.rectools_sasrec", str(folder)]
        subprocess.run(command, cwd=PROJECT_ROOT, stdout=sys.stderr, check=True)
        curve = json.loads((folder / "curve.json").read_text(encoding="utf-8"))
        return compute_result(torch.from_numpy(np.load(folder / "ranks.npy")), test.targets, curve)


if __name__ == "__main__":
    sys.exit(main())
