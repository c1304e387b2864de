"""Compare the training of sequence models: throughput with data loading, and time to a given NDCG.

The contenders are the interest model on IDs, the SASRec of RePlay, RecTools and RecBole, and a plain SASRec
in torch. All have the same users and items, width 64, 2 layers, 50 events and batches of 256. Each runs in
its own process. Each library has its own environment, which uv makes from benchmarks/speed/sasrec/*.txt.

speed: sequences/s. The first epoch is the warm-up, and the median of the others is reported.
learning: seconds to the NDCG of --level, at the best learning rate of each. --path gives it real sequences.
million_items: throughput and memory with a million items.
gpu: throughput and utilisation of a GPU.

On one core, speed takes ten minutes with 1,024 users, and learning as long on synthetic sequences. On Beauty,
undercurrent and RePlay take more than an hour. The last line is the JSON result.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.result import publish_result
from benchmarks.speed.sasrec.contender import LEARNING_RATE, MAX_LENGTH, SequenceData
from benchmarks.speed.sasrec.gpu import benchmark_gpu
from benchmarks.speed.sasrec.synthetic import make_sequences
from benchmarks.speed.sasrec.with_undercurrent import PRECISION
from core.errors import REFUSED_INPUT, InputError
from core.paths import PROJECT_ROOT
from datasets.beauty import read_sequences

CONTENDERS = ("undercurrent", "replay", "rectools", "recbole", "torch")
SAMPLED_LOSS_CONTENDERS = ("undercurrent", "replay", "torch")  # they have a sampled loss too
LIBRARIES = ("replay", "rectools", "recbole")
MALLOC_THRESHOLDS = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(4 << 30)}
SEED = 1
LEARNING_NUM_USERS, LEARNING_NUM_ITEMS = 2048, 500
LEARNING_RATES = (0.003, 0.01, 0.001)  # likely best first, as a run slower than the best so far is stopped

PartResult = tuple[dict[str, Any], dict[str, float]]  # figures, ratios
Curve = Sequence[tuple[float, float]]  # (seconds of training, NDCG@10)


def main() -> int:
    """Run the benchmark.

    Returns:
        0: done. 2: the data is refused.
    """
    parser = _build_parser()
    args = parser.parse_args()
    if args.epochs < 2:
        parser.error(f"--epochs is {args.epochs}; write at least 2, because the first one is the warm-up")
    try:
        if args.path:
            read_sequences(args.path)  # refuse bad data before the other parts run for hours
    except InputError as error:
        print(f"train: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    figures: dict[str, Any] = {"threads": args.threads, "undercurrent_precision": PRECISION}
    ratios: dict[str, float] = {}
    for part in args.parts:
        part_figures, part_ratios = PARTS[part](args)
        print(f"{part}: {part_figures} {part_ratios}", file=sys.stderr)
        figures[part] = part_figures
        ratios |= part_ratios
    path_suffix = [args.path.name] if args.path else []
    publish_result("-".join(["train", *args.parts, *path_suffix]), figures, ratios, args.keep)
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run (default: all)"
    )
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=CONTENDERS,
        default=list(CONTENDERS),
        help="contenders of speed and learning (default: all)",
    )
    parser.add_argument(
        "--users", type=int, default=2560, help="users of speed and million_items (default: %(default)s)"
    )
    parser.add_argument("--items", type=int, default=20_000, help="items of speed (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of speed (default: %(default)s)")
    parser.add_argument(
        "--path",
        type=Path,
        help="folder with Beauty.txt for learning (default: synthetic sequences)",
    )
    parser.add_argument(
        "--level",
        type=float,
        default=0.5,
        help="NDCG@10 to reach in learning (default: %(default)s)",
    )
    parser.add_argument(
        "--learning-epochs",
        type=int,
        default=20,
        help="largest number of epochs in learning (default: %(default)s)",
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="threads of each contender (default: all cores)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="write benchmarks/results/train-<parts>[-<folder>].json"
    )
    return parser


def benchmark_speed(args: argparse.Namespace) -> PartResult:
    """Measure sequences/s of each contender, with default and with raised thresholds of malloc."""
    figures: dict[str, Any] = {}
    with synthetic_data(args.users, args.items) as folder:
        for allocator, environment in {
            "default_malloc": {},
            "raised_malloc_thresholds": MALLOC_THRESHOLDS,
        }.items():
            runs = {
                (name, loss): run_contender(name, folder, args.epochs, loss, environment)
                for loss in ("exact", "sampled")
                for name in args.contenders
                if loss == "exact" or name in SAMPLED_LOSS_CONTENDERS
            }
            figures[allocator] = {
                f"{name} {loss}": sequences_per_second(args.users, result["seconds"])
                for (name, loss), result in runs.items()
            }
    return figures, ratios_to_contenders(figures["default_malloc"])


def sequences_per_second(num_users: int, seconds: Sequence[float]) -> float | None:
    """Return the median over the epochs after the first, None for a contender that failed."""
    return round(num_users / statistics.median(seconds[1:]), 1) if seconds else None


def ratios_to_contenders(rates: Mapping[str, float | None]) -> dict[str, float]:
    """Divide undercurrent's rate by that of each other contender with the same loss.

    Args:
        rates: "<contender> <loss>" -> rate, None for a contender that failed.

    Returns:
        "<loss>_over_<contender>" -> ratio.
    """
    ratios = {}
    for key, contender_rate in rates.items():
        name, loss = key.split()
        undercurrent_rate = rates.get(f"undercurrent {loss}")
        if name != "undercurrent" and undercurrent_rate and contender_rate:
            ratios[f"{loss}_over_{name}"] = round(undercurrent_rate / contender_rate, 2)
    return ratios


def speedups(seconds_by_contender: Mapping[str, float]) -> dict[str, float]:
    """Return the same ratios from seconds. Contenders with infinite seconds are left out."""
    return ratios_to_contenders(
        {name: 1 / seconds for name, seconds in seconds_by_contender.items() if seconds < math.inf}
    )


def benchmark_learning(args: argparse.Namespace) -> PartResult:
    """Measure the seconds of training to the NDCG@10 of --level, each contender at its best learning rate.

    NDCG is measured after each epoch and interpolated linearly in between. Its measurement is not timed. All
    contenders have raised thresholds of malloc, which helps the slowest most (part speed).
    """
    with learning_data(args.path) as folder:
        # Synthetic data has 500 items, too few for 1,024 negatives.
        losses = ("sampled", "exact") if args.path else ("exact",)
        curves = {
            f"{name} {loss}": curves_by_learning_rate(name, loss, folder, args.learning_epochs, args.level)
            for loss in losses
            for name in args.contenders
            if loss == "exact" or name in SAMPLED_LOSS_CONTENDERS
        }
    seconds_to_target = {
        name: min(seconds_to_ndcg(args.level, curve) for curve in curves_by_rate.values())
        for name, curves_by_rate in curves.items()
    }
    seconds_or_none = {
        name: None if seconds == math.inf else seconds for name, seconds in seconds_to_target.items()
    }
    figures = {"target_ndcg": args.level, "seconds_to_target_ndcg": seconds_or_none, "curves": curves}
    return figures, {f"to_equal_ndcg_{name}": value for name, value in speedups(seconds_to_target).items()}


def curves_by_learning_rate(
    name: str, loss: str, folder: Path, epochs: int, target_ndcg: float
) -> dict[float, Curve]:
    """Train a contender with each learning rate. A run slower than the best so far is stopped.

    Returns:
        learning rate -> curve.
    """
    curves: dict[float, Curve] = {}
    best = math.inf
    for rate in LEARNING_RATES:
        arguments = ["--level", str(target_ndcg), "--within", str(best)]
        result = run_contender(name, folder, epochs, loss, MALLOC_THRESHOLDS, rate, arguments)
        seconds, ndcgs = accumulate(result["seconds"]), result["ndcg@10"]
        curves[rate] = [(round(s, 1), round(high, 4)) for s, high in zip(seconds, ndcgs, strict=True)]
        best = min(best, seconds_to_ndcg(target_ndcg, curves[rate]))
    return curves


def seconds_to_ndcg(target_ndcg: float, curve: Curve) -> float:
    """Return the seconds at which a curve first reaches an NDCG, interpolated linearly; inf if never."""
    for (start, low), (end, high) in pairwise([(0.0, 0.0), *curve]):
        if high >= target_ndcg:
            return round(start + (end - start) * (target_ndcg - low) / (high - low), 1)
    return math.inf


def benchmark_million_items(args: argparse.Namespace) -> PartResult:
    """Measure throughput and memory with a million items and the sampled loss."""
    with synthetic_data(args.users, 1_000_000) as folder:
        result = run_contender("undercurrent", folder, 2, "sampled", {})
    return {
        "sequences_per_s": sequences_per_second(args.users, result["seconds"]),
        "peak_mib": result.get("peak_mib"),
    }, {}


@contextmanager
def synthetic_data(num_users: int, num_items: int) -> Iterator[Path]:
    """Yield a temporary folder with synthetic sequences for the contenders."""
    with tempfile.TemporaryDirectory(prefix="undercurrent-train-") as folder:
        make_sequences(num_users, num_items, SEED).save(Path(folder) / "data.npz")
        yield Path(folder)


@contextmanager
def learning_data(path: Path | None) -> Iterator[Path]:
    """Yield a temporary folder with the data of the part learning.

    The target of a real sequence is its last item but one. The last item, the test target of
    `benchmarks.quality.ranking`, is not read.

    Args:
        path: folder with Beauty.txt, None for synthetic sequences.
    """
    if path is None:
        with synthetic_data(LEARNING_NUM_USERS, LEARNING_NUM_ITEMS) as folder:
            yield folder
        return
    sequences_by_user = read_sequences(path)
    # Only the first users are evaluated, so the order is random.
    order = np.random.default_rng(SEED).permutation(len(sequences_by_user))
    inputs = [sequences_by_user[user][:-2][-MAX_LENGTH - 1 :] for user in order]
    offsets = np.concatenate([[0], np.cumsum([*map(len, inputs)])])
    next_items = np.array([sequences_by_user[user][-2] for user in order])
    with tempfile.TemporaryDirectory(prefix="undercurrent-train-") as name:
        SequenceData(
            offsets,
            np.array([item for sequence in inputs for item in sequence]),
            next_items,
            1 + max(map(max, sequences_by_user)),
        ).save(Path(name) / "data.npz")
        yield Path(name)


def run_contender(
    name: str,
    folder: Path,
    epochs: int,
    loss: str,
    environment: Mapping[str, str],
    learning_rate: float = LEARNING_RATE,
    extra_arguments: Sequence[str] = (),
) -> dict[str, Any]:
    """Run a contender in its own process.

    Returns:
        its result. It is empty if the contender failed, so that the others can continue.
    """
    command = [
        *python_command(name),
        "-m",
        f"benchmarks.speed.sasrec.with_{name}",
        str(folder),
        "--seed",
        str(SEED),
    ]
    command += [
        "--epochs",
        str(epochs),
        "--rate",
        str(learning_rate),
        *(["--sampled"] if loss == "sampled" else []),
    ]
    command += extra_arguments
    completed = subprocess.run(
        command, cwd=PROJECT_ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )
    if completed.returncode:
        print(
            f"{name} {loss} {learning_rate}: failed with exit code {completed.returncode} and is left out",
            file=sys.stderr,
        )
        return {"seconds": [], "ndcg@10": []}
    result = json.loads(completed.stdout.splitlines()[-1])
    print(f"{name} {loss} {learning_rate}: {result}", file=sys.stderr)
    return result


def python_command(name: str) -> list[str]:
    """Return the interpreter of a contender. A library has its own environment without the project."""
    if name not in LIBRARIES:
        return [sys.executable]
    uv = shutil.which("uv") or str(PROJECT_ROOT / ".tools" / "uv" / "bin" / "uv")
    requirements = PROJECT_ROOT / "benchmarks" / "speed" / "sasrec" / f"{name}.txt"
    uv_command = [uv, "run", "--no-project", "--isolated", "--python", "3.11", "--with-requirements"]
    return [*uv_command, str(requirements), "python"]


PARTS = {
    "speed": benchmark_speed,
    "learning": benchmark_learning,
    "million_items": benchmark_million_items,
    "gpu": benchmark_gpu,
}

if __name__ == "__main__":
    sys.exit(main())
