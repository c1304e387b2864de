"""How fast are exact metrics over the whole catalogue? Ours beside dense forms, torch's top-k and FAISS.

Users and videos are vectors, a score is their inner product, and each user has some targets to be found. All
contenders tell NDCG, Recall and MRR at the same cut-offs, which must agree. Each run is a process of its own,
so that its peak memory is its own; the contenders take turns, and the median of the turns counts. Loading and
a first small batch are not counted. On a busy machine, look at the users per second of processor time. Two
sets: targets that a model finds as seldom as real ones do, and every target among the first places.

FAISS is not part of the environment: uv run --with-requirements benchmarks/peers.txt python -m
benchmarks.evaluate. What is not installed is said and left out. The last line is the JSON result.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.result import peak_mib, publish
from models.first_places import first_places
from models.histories import Seen
from models.metrics import mrr, ndcg, recall
from models.ranks import ranks

CUTOFFS = (5, 10, 20)
STOP = max(CUTOFFS)
BATCH = 512  # users whose scores the dense forms hold at a time
GUESSES = (1, 8, 64, 512)  # a target is the best of so many videos drawn: the more, the nearer to the top
COMMON = 0.005  # share of the users that every contender is given

Ranks = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """U users, V videos, and P targets (user_P sorted, each pair once)."""

    z_UD: NDArray[np.float32]
    x_VD: NDArray[np.float32]
    user_P: Ranks
    row_P: Ranks

    def first(self, users: int) -> "Task":
        """The first users only."""
        end = int(np.searchsorted(self.user_P, users))
        return Task(self.z_UD[:users], self.x_VD, self.user_P[:end], self.row_P[:end])


def main() -> int:
    """Command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.evaluate", None, __doc__, formatter_class=form)
    parser.add_argument("--users", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--videos", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--width", type=int, default=64, help="of the vectors (default: %(default)s)")
    parser.add_argument("--targets", type=int, default=3, help="of a user (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s, as the steps have")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/evaluate.json")
    args = parser.parse_args()
    figures: dict[str, Any] = {
        "videos": args.videos,
        "width": args.width,
        "targets": args.targets,
        "threads": args.threads,
        "versions": {name: _version(name) for name in ("torch", "numpy", "faiss-cpu")},
    }
    ratios: dict[str, float] = {}
    sizes = args.videos, args.width, args.targets
    for name, make in SETS.items():
        found = measure(make(args.users, *sizes), args.threads, args.repeats)
        rates = found["users_per_s"]
        figures[name] = found
        ratios |= {
            f"{name}: ours over {peer}": round(rates["ours"] / rate, 2)
            for peer, rate in rates.items()
            if peer != "ours"
        }
    publish("evaluate", figures, ratios, args.keep)
    return 0


def planted(users: int, videos: int, width: int, targets: int) -> Task:
    """Targets at all places, some of them near the top; no video is better than others for everybody."""
    draw = np.random.default_rng(1)
    z_UD, x_VD = (draw.standard_normal((n, width), dtype=np.float32) for n in (users, videos))
    guesses_P = np.repeat(draw.choice(GUESSES, users), targets)
    user_P, row_P = np.repeat(np.arange(users), targets), np.empty(users * targets, np.int64)
    for guesses in GUESSES:
        for at_P in np.array_split(np.flatnonzero(guesses_P == guesses), 1 + users * guesses // 200_000):
            drawn_PG = draw.integers(0, videos, (len(at_P), guesses))
            score_PG = np.einsum("pd,pgd->pg", z_UD[user_P[at_P]], x_VD[drawn_PG])
            row_P[at_P] = drawn_PG[np.arange(len(at_P)), score_PG.argmax(1)]
    return _task(z_UD, x_VD, user_P, row_P)


def at_the_top(users: int, videos: int, width: int, targets: int) -> Task:
    """Targets among the first places of each user, of a tenth of the users."""
    draw, users = np.random.default_rng(2), max(1, users // 10)
    z_UD, x_VD = (draw.standard_normal((n, width), dtype=np.float32) for n in (users, videos))
    best_UK = np.concatenate(
        [
            np.argpartition(-z @ x_VD.T, STOP // 2)[:, : STOP // 2]
            for z in np.array_split(z_UD, 1 + users // 64)
        ]
    )
    row_UT = draw.permuted(best_UK, axis=1)[:, :targets]
    return _task(z_UD, x_VD, np.repeat(np.arange(users), row_UT.shape[1]), row_UT.ravel())


SETS = {"seldom found": planted, "always found": at_the_top}


def _task(z_UD: NDArray, x_VD: NDArray, user_P: Ranks, row_P: Ranks) -> Task:
    pairs = np.unique(np.stack([user_P, row_P], 1), axis=0)
    return Task(z_UD, x_VD, pairs[:, 0].copy(), pairs[:, 1].copy())


def ours(task: Task) -> Ranks:
    """models/first_places.py."""
    z_UD, x_VD = torch.from_numpy(task.z_UD), torch.from_numpy(task.x_VD)
    unseen = Seen(torch.zeros(len(z_UD) + 1, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    found = first_places(
        lambda users_B: lambda at, rows: z_UD[users_B][at] @ x_VD[rows].T,
        unseen,
        torch.from_numpy(task.user_P),
        torch.from_numpy(task.row_P),
        len(x_VD),
        STOP,
    )
    return torch.cat([rank_P for _, rank_P in found]).numpy()


def counting(task: Task) -> Ranks:
    """models/ranks.py with all scores, and what stands above each target is counted."""
    x_VD = torch.from_numpy(task.x_VD)
    found = []
    for start, user_P, row_P in _batches(task):
        score_BV = torch.from_numpy(task.z_UD[start : start + BATCH]) @ x_VD.T
        found.append(ranks(score_BV, torch.from_numpy(user_P), torch.from_numpy(row_P)).numpy())
    return np.concatenate(found)


def torch_topk(task: Task) -> Ranks:
    """All scores, torch's top-k, and the targets looked for in it."""
    x_VD = torch.from_numpy(task.x_VD)
    found = []
    for start, user_P, row_P in _batches(task):
        best_BK = (torch.from_numpy(task.z_UD[start : start + BATCH]) @ x_VD.T).topk(STOP).indices
        found.append(_places(best_BK.numpy(), user_P, row_P))
    return np.concatenate(found)


def faiss_flat(task: Task) -> Ranks:
    """FAISS's exact search, and the targets looked for in what it finds."""
    import faiss

    faiss.omp_set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    index = faiss.IndexFlatIP(task.x_VD.shape[1])
    index.add(task.x_VD)
    return _places(index.search(task.z_UD, STOP)[1], task.user_P, task.row_P)


def numpy_sort(task: Task) -> Ranks:
    """The plain form: all scores, sorted."""
    found = []
    for start, user_P, row_P in _batches(task):
        best_BV = np.argsort(-(task.z_UD[start : start + BATCH] @ task.x_VD.T), axis=1)
        found.append(_places(best_BV[:, :STOP], user_P, row_P))
    return np.concatenate(found)


# What tells the places, and to what share of the users it is given: the slow are linear in them.
CONTENDERS: Mapping[str, tuple[Callable[[Task], Ranks], float]] = {
    "ours": (ours, 1.0),
    "dense, counting": (counting, 0.1),
    "dense, torch top-k": (torch_topk, 0.1),
    "dense, numpy sort": (numpy_sort, COMMON),
    "FAISS flat": (faiss_flat, 1.0),
}


def _batches(task: Task) -> Any:
    """First user, and the targets of a batch of users with their places in it."""
    for start in range(0, len(task.z_UD), BATCH):
        low, high = np.searchsorted(task.user_P, [start, start + BATCH])
        yield start, task.user_P[low:high] - start, task.row_P[low:high]


def _places(best_BK: NDArray, user_P: Ranks, row_P: Ranks) -> Ranks:
    """Place of each target in its user's list, K + 1 where it is not in it."""
    hit_PK = best_BK[user_P] == row_P[:, None]
    return np.where(hit_PK.any(1), hit_PK.argmax(1) + 1, best_BK.shape[1] + 1)


def measure(task: Task, threads: int, repeats: int) -> dict[str, Any]:
    """Users/s and peak memory of each contender, and the metrics that they agree on.

    Raises:
        RuntimeError: two contenders do not agree.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS if _there(name)}
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory(prefix="undercurrent-evaluate-") as folder:
        for field, array in vars(task).items():
            np.save(Path(folder) / f"{field}.npy", array)
        for turn in range(repeats):
            for name, runs in found.items():
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    runs.append(pool.apply(_run, (name, folder)))
                print(f"turn {turn + 1}, {name}: {runs[-1]['users_per_s']:.0f} users/s", file=sys.stderr)
    return {
        "users": len(task.z_UD),
        **{
            rate: {name: round(median(run[rate] for run in runs)) for name, runs in found.items()}
            for rate in ("users_per_s", "users_per_cpu_s")
        },
        "peak_mib": {name: max(run["peak_mib"] for run in runs) for name, runs in found.items()},
        "metrics": found["ours"][0]["metrics"],
        "largest_difference": _largest_difference(found),
    }


def _run(name: str, folder: str) -> dict[str, Any]:
    """One turn of one contender, in a process of its own; peak memory is beyond the data's."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    fields = ("z_UD", "x_VD", "user_P", "row_P")
    whole = Task(*(np.load(Path(folder) / f"{field}.npy") for field in fields))
    places, share = CONTENDERS[name]
    task, before = whole.first(max(1, int(share * len(whole.z_UD)))), peak_mib()
    places(task.first(min(BATCH, len(task.z_UD))))
    started, worked = time.perf_counter(), time.process_time()
    rank_P = places(task)
    metrics = told(rank_P, task)
    seconds, work = time.perf_counter() - started, time.process_time() - worked
    few = whole.first(max(1, int(COMMON * len(whole.z_UD))))
    return {
        "users_per_s": len(task.z_UD) / seconds,
        "users_per_cpu_s": len(task.z_UD) / work,
        "peak_mib": peak_mib() - before,
        "metrics": metrics,
        "common": told(rank_P[: len(few.user_P)], few),
    }


def told(rank_P: Ranks, task: Task) -> dict[str, float]:
    """The metrics of these places."""
    measures = {"ndcg": ndcg, "recall": recall, "mrr": mrr}
    return {
        f"{name}@{k}": float(np.nanmean(of(rank_P, task.user_P, len(task.z_UD), k)))
        for name, of in measures.items()
        for k in CUTOFFS
    }


def _largest_difference(found: Mapping[str, list[dict[str, Any]]]) -> float:
    """Between any contender's metrics and ours, on the users that all were given."""
    expected, worst = found["ours"][0]["common"], 0.0
    for name, runs in found.items():
        gap = max(abs(runs[0]["common"][key] - value) for key, value in expected.items())
        if gap > 1e-3:
            raise RuntimeError(f"{name} and ours differ by {gap} in a metric; they do not measure the same")
        worst = max(worst, gap)
    return worst


def _there(name: str) -> bool:
    if name == "FAISS flat" and _version("faiss-cpu") == "not installed":
        print("FAISS is not installed and left out", file=sys.stderr)
        return False
    return True


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
