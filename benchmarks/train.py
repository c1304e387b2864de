"""How fast models of sequences are trained, loader and packing included, and what they learn meanwhile.

Ours on IDs alone against the SASRec of RePlay, RecTools and RecBole and a plain one in torch: the same people
and items, width 64, 2 layers, 50 events, batches of 256, each in a process of its own, and each library in an
environment of its own that uv makes (benchmarks/sasrec/*.txt). In the part speed the first epoch warms up and
the median of the others counts; in the part learning each has its best learning rate. The last line is the
JSON result.
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
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.result import publish
from benchmarks.sasrec.contender import RATE
from benchmarks.sasrec.gpu import gpu
from benchmarks.sasrec.synthetic import sequences
from contracts.place import PROJECT

CONTENDERS = ("ours", "replay", "rectools", "recbole", "torch")
SAMPLED = ("ours", "replay", "torch")  # with the sampled loss too
LIBRARIES = ("replay", "rectools", "recbole")
THRESHOLDS = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(4 << 30)}
SEED = 1
LEARNED_USERS, LEARNED_ITEMS = 2048, 500
BUDGETS, RATES = (2, 5, 10, 20), (0.001, 0.003, 0.01)
LEVEL = 0.95  # of the best that the weakest contender reaches

Part = tuple[dict[str, Any], dict[str, float]]  # figures, ratios


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument(
        "--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="default: all"
    )
    parser.add_argument(
        "--users", type=int, default=2560, help="of the parts speed and million (default: %(default)s)"
    )
    parser.add_argument("--items", type=int, default=20_000, help="of the part speed (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="of the part speed (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="of each contender (default: all cores)"
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/train-<parts>.json")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    figures: dict[str, Any] = {"threads": args.threads}
    ratios: dict[str, float] = {}
    for part in args.parts:
        found, compared = PARTS[part](args)
        print(f"{part}: {found} {compared}", file=sys.stderr)
        figures[part] = found
        ratios |= compared
    publish("-".join(["train", *args.parts]), figures, ratios, args.keep)
    return 0


def speed(args: argparse.Namespace) -> Part:
    """Sequences/s of each, as the allocator comes and with its thresholds raised."""
    figures: dict[str, Any] = {}
    with data(args.users, args.items) as folder:
        for malloc, more in {"as_it_comes": {}, "thresholds_raised": THRESHOLDS}.items():
            runs = {
                (name, loss): run(name, folder, args.epochs, loss, more)
                for loss in ("exact", "sampled")
                for name in args.contenders
                if loss == "exact" or name in SAMPLED
            }
            figures[malloc] = {
                f"{name} {loss}": round(statistics.median(found["sequences_per_s"][1:]), 1)
                for (name, loss), found in runs.items()
            }
    return figures, ratios_of(figures["as_it_comes"])


def ratios_of(rate: Mapping[str, float]) -> dict[str, float]:
    """Ours over each other contender, by loss."""
    return {
        f"{loss}_over_{name}": round(rate[f"ours {loss}"] / found, 2)
        for (name, loss), found in ((key.split(), value) for key, value in rate.items())
        if name != "ours" and f"ours {loss}" in rate
    }


def learning(args: argparse.Namespace) -> Part:
    """Seconds of training to the same NDCG@10, each at its best learning rate, exact loss.

    The set is small enough to be learned. The level is one that every contender reaches; each number of
    epochs is a training of its own, and what lies between two of them is taken to be on a line.
    """
    with data(LEARNED_USERS, LEARNED_ITEMS) as folder:
        curves = {
            name: {rate: [learned(name, folder, epochs, rate) for epochs in BUDGETS] for rate in RATES}
            for name in args.contenders
        }
    best = {name: max(high for curve in of.values() for _, high in curve) for name, of in curves.items()}
    level = LEVEL * min(best.values())
    took = {name: min(seconds_to(level, curve) for curve in of.values()) for name, of in curves.items()}
    figures = {"epochs": BUDGETS, "level": round(level, 4), "seconds_to_level": took, "curves": curves}
    others = [name for name in took if name != "ours" and "ours" in took]
    return figures, {
        f"faster_to_equal_ndcg_than_{name}": round(took[name] / took["ours"], 2) for name in others
    }


def learned(name: str, folder: Path, epochs: int, rate: float) -> tuple[float, float]:
    """Seconds of training and NDCG@10 after so many epochs."""
    found = run(name, folder, epochs, "exact", {}, rate)
    seconds = sum(LEARNED_USERS / per_s for per_s in found["sequences_per_s"])
    return round(seconds, 1), round(found["ndcg@10"], 4)


def seconds_to(level: float, curve: Sequence[tuple[float, float]]) -> float:
    """When a curve of (seconds, NDCG) first is as high, on a line between its points; inf: never."""
    for (start, low), (end, high) in pairwise([(0.0, 0.0), *curve]):
        if high >= level:
            return round(start + (end - start) * (level - low) / (high - low), 1)
    return math.inf


def million(args: argparse.Namespace) -> Part:
    """What a catalogue of a million videos costs us with the sampled loss."""
    with data(args.users, 1_000_000) as folder:
        found = run("ours", folder, 2, "sampled", {})
    return {"sequences_per_s": round(found["sequences_per_s"][1], 1), "peak_mib": found["peak_mib"]}, {}


@contextmanager
def data(users: int, items: int) -> Iterator[Path]:
    """A folder with the sequences that the contenders train on."""
    with tempfile.TemporaryDirectory(prefix="undercurrent-train-") as folder:
        sequences(users, items, SEED).save(Path(folder) / "data.npz")
        yield Path(folder)


def run(
    name: str, folder: Path, epochs: int, loss: str, environment: Mapping[str, str], rate: float = RATE
) -> dict[str, Any]:
    """What a contender says of itself."""
    command = [*python_of(name), "-m", f"benchmarks.sasrec.with_{name}", str(folder), "--seed", str(SEED)]
    command += ["--epochs", str(epochs), "--rate", str(rate), *(["--sampled"] if loss == "sampled" else [])]
    done = subprocess.run(
        command, cwd=PROJECT, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{name} {loss} {rate}: {found}", file=sys.stderr)
    return found


def python_of(name: str) -> list[str]:
    """The interpreter of a contender: a library's has what its requirements say, and nothing of ours."""
    if name not in LIBRARIES:
        return [sys.executable]
    uv = shutil.which("uv") or str(PROJECT / ".tools" / "uv" / "bin" / "uv")
    requirements = PROJECT / "benchmarks" / "sasrec" / f"{name}.txt"
    made = [uv, "run", "--no-project", "--isolated", "--python", "3.11", "--with-requirements"]
    return [*made, str(requirements), "python"]


PARTS = {"speed": speed, "learning": learning, "million": million, "gpu": gpu}

if __name__ == "__main__":
    sys.exit(main())
