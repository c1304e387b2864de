"""How fast models of sequences are trained, loader and packing included, and what they learn meanwhile.

Ours on IDs alone against the SASRec of RePlay, RecTools and RecBole and a plain one in torch: the same people
and items, width 64, 2 layers, 50 events, batches of 256, each in a process of its own, and each library in an
environment of its own that uv makes (benchmarks/sasrec/*.txt). In the part speed the first epoch warms up and
the median of the others counts. The part learning asks how long each trains to the same NDCG, at its best
learning rate; give it real sequences with --path. With 1,024 people the part speed takes ten minutes on one
core, and so does learning from synthetic ones; from Beauty, ours and RePlay take an hour and more. The last
line is the JSON result.
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

from benchmarks.result import publish
from benchmarks.sasrec.contender import LENGTH, RATE, Data
from benchmarks.sasrec.gpu import gpu
from benchmarks.sasrec.synthetic import sequences
from benchmarks.sasrec.with_ours import PRECISION
from benchmarks.sets.beauty import read
from contracts.errors import REFUSED_INPUT, InputError
from contracts.place import PROJECT

CONTENDERS = ("ours", "replay", "rectools", "recbole", "torch")
SAMPLED = ("ours", "replay", "torch")  # with the sampled loss too
LIBRARIES = ("replay", "rectools", "recbole")
THRESHOLDS = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(4 << 30)}
SEED = 1
LEARNED_USERS, LEARNED_ITEMS = 2048, 500
RATES = (0.003, 0.01, 0.001)  # the likeliest first: what takes longer than the best so far is cut

Part = tuple[dict[str, Any], dict[str, float]]  # figures, ratios
Curve = Sequence[tuple[float, float]]  # seconds of training, NDCG@10 by then


def main() -> int:
    """Command line; exit code 2 when the data is not what it should be."""
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
        "--path",
        type=Path,
        help="folder with Beauty.txt, for the part learning (default: synthetic sequences)",
    )
    parser.add_argument(
        "--level",
        type=float,
        default=0.5,
        help="NDCG@10 that the part learning asks for (default: %(default)s)",
    )
    parser.add_argument(
        "--learning-epochs", type=int, default=20, help="at most, in the part learning (default: %(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="of each contender (default: all cores)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="write benchmarks/results/train-<parts>[-<folder>].json"
    )
    args = parser.parse_args()
    if args.epochs < 2:
        parser.error(f"--epochs is {args.epochs}; at least 2 are needed, for the first warms up")
    try:
        if args.path:
            read(args.path)  # what is wrong with it is told before hours of other parts
    except InputError as error:
        print(f"train: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    figures: dict[str, Any] = {"threads": args.threads, "precision_of_ours": PRECISION}
    ratios: dict[str, float] = {}
    for part in args.parts:
        found, compared = PARTS[part](args)
        print(f"{part}: {found} {compared}", file=sys.stderr)
        figures[part] = found
        ratios |= compared
    of = [args.path.name] if args.path else []
    publish("-".join(["train", *args.parts, *of]), figures, ratios, args.keep)
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
                f"{name} {loss}": per_second(args.users, found["seconds"])
                for (name, loss), found in runs.items()
            }
    return figures, ratios_of(figures["as_it_comes"])


def per_second(users: int, seconds: Sequence[float]) -> float | None:
    """Of epochs after the first. None: who failed has no seconds."""
    return round(users / statistics.median(seconds[1:]), 1) if seconds else None


def ratios_of(rate: Mapping[str, float | None]) -> dict[str, float]:
    """Ours over each other contender, by loss; who failed has none."""
    ratios = {}
    for key, found in rate.items():
        name, loss = key.split()
        ours = rate.get(f"ours {loss}")
        if name != "ours" and ours and found:
            ratios[f"{loss}_over_{name}"] = round(ours / found, 2)
    return ratios


def faster(took: Mapping[str, float]) -> dict[str, float]:
    """The same of seconds: how many of theirs are one of ours. Left out who never got there."""
    return ratios_of({name: 1 / seconds for name, seconds in took.items() if seconds < math.inf})


def learning(args: argparse.Namespace) -> Part:
    """Seconds of training until NDCG@10 is as high as asked for, each at its best learning rate.

    Every epoch is judged, which is not counted; what lies between two is taken to be on a line. All have the
    allocator's thresholds raised, which helps the slowest most (part speed).
    """
    with learned_from(args.path) as folder:
        losses = ("sampled", "exact") if args.path else ("exact",)  # of 500 items no 1,024 are sampled
        curves = {
            f"{name} {loss}": at_each_rate(name, loss, folder, args.learning_epochs, args.level)
            for loss in losses
            for name in args.contenders
            if loss == "exact" or name in SAMPLED
        }
    took = {name: min(seconds_to(args.level, curve) for curve in of.values()) for name, of in curves.items()}
    reached = {name: None if seconds == math.inf else seconds for name, seconds in took.items()}
    figures = {"level": args.level, "seconds_to_level": reached, "curves": curves}
    return figures, {f"to_equal_ndcg_{name}": value for name, value in faster(took).items()}


def at_each_rate(name: str, loss: str, folder: Path, epochs: int, level: float) -> dict[float, Curve]:
    """What was learned when, by learning rate; one that takes longer than the best so far is cut."""
    curves: dict[float, Curve] = {}
    best = math.inf
    for rate in RATES:
        asked = ["--level", str(level), "--within", str(best)]
        found = run(name, folder, epochs, loss, THRESHOLDS, rate, asked)
        seconds, highs = accumulate(found["seconds"]), found["ndcg@10"]
        curves[rate] = [(round(s, 1), round(high, 4)) for s, high in zip(seconds, highs, strict=True)]
        best = min(best, seconds_to(level, curves[rate]))
    return curves


def seconds_to(level: float, curve: Curve) -> float:
    """When a curve of (seconds, NDCG) first is as high, on a line between its points; inf: never."""
    for (start, low), (end, high) in pairwise([(0.0, 0.0), *curve]):
        if high >= level:
            return round(start + (end - start) * (level - low) / (high - low), 1)
    return math.inf


def million(args: argparse.Namespace) -> Part:
    """What a catalogue of a million videos costs us with the sampled loss."""
    with data(args.users, 1_000_000) as folder:
        found = run("ours", folder, 2, "sampled", {})
    return {
        "sequences_per_s": per_second(args.users, found["seconds"]),
        "peak_mib": found.get("peak_mib"),
    }, {}


@contextmanager
def data(users: int, items: int) -> Iterator[Path]:
    """A folder with the sequences that the contenders train on."""
    with tempfile.TemporaryDirectory(prefix="undercurrent-train-") as folder:
        sequences(users, items, SEED).save(Path(folder) / "data.npz")
        yield Path(folder)


@contextmanager
def learned_from(path: Path | None) -> Iterator[Path]:
    """The same with what the part learning reads: synthetic sequences, or those of a folder.

    Of real ones the last item but one is what comes next; the last, `benchmarks.quality`'s test, is not read.
    """
    if path is None:
        with data(LEARNED_USERS, LEARNED_ITEMS) as folder:
            yield folder
        return
    known = read(path)
    order = np.random.default_rng(SEED).permutation(len(known))  # the first ones are judged
    histories = [known[at][:-2][-LENGTH - 1 :] for at in order]
    offsets = np.concatenate([[0], np.cumsum([*map(len, histories)])])
    following = np.array([known[at][-2] for at in order])
    with tempfile.TemporaryDirectory(prefix="undercurrent-train-") as name:
        Data(
            offsets,
            np.array([item for history in histories for item in history]),
            following,
            1 + max(map(max, known)),
        ).save(Path(name) / "data.npz")
        yield Path(name)


def run(
    name: str,
    folder: Path,
    epochs: int,
    loss: str,
    environment: Mapping[str, str],
    rate: float = RATE,
    more: Sequence[str] = (),
) -> dict[str, Any]:
    """What a contender says of itself; of one that fails, nothing, and the others go on."""
    command = [*python_of(name), "-m", f"benchmarks.sasrec.with_{name}", str(folder), "--seed", str(SEED)]
    command += ["--epochs", str(epochs), "--rate", str(rate), *(["--sampled"] if loss == "sampled" else [])]
    command += more
    done = subprocess.run(
        command, cwd=PROJECT, env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        print(f"{name} {loss} {rate}: failed (exit code {done.returncode}), left out", file=sys.stderr)
        return {"seconds": [], "ndcg@10": []}
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
