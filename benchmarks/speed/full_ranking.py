"""How fast are exact metrics of a full ranking? Compares our top-k ranking, dense forms and FAISS.

Users and videos are vectors, and a score is an inner product. Each user has some targets. All contenders
compute NDCG, Recall and MRR at the same cut-offs, and the metrics must agree. There are two tasks:

deep targets: targets at all ranks, as in real data.
top targets: all targets are among the first ranks.

The contenders run by turns, and the median of the turns is reported. Each run has its own process, so its
peak memory is measured alone. Loading and a first small batch are not timed. On a busy machine users/s of CPU
time is the better figure. FAISS is not part of the environment. If it is missing, it is reported and left
out. To add it:

    uv run --with-requirements benchmarks/peers.txt python -m benchmarks.speed.full_ranking

The last line is the JSON result.
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

from benchmarks.result import peak_mib, publish_result
from models.data.sequences import SeenItems
from models.evaluation.metrics import mrr, ndcg, recall
from models.retrieval.full_ranking import target_ranks
from models.retrieval.topk_ranking import topk_ranks

CUTOFFS = (5, 10, 20)
MAX_CUTOFF = max(CUTOFFS)
BATCH_SIZE = 512  # users whose scores the dense forms hold at a time
# A target is the best of so many random videos. The more videos, the higher its rank.
CANDIDATE_COUNTS = (1, 8, 64, 512)
COMMON_SHARE = 0.005  # share of the users that every contender ranks

Ranks = NDArray[np.int64]


@dataclass(frozen=True)
class RankingTask:
    """Vectors of users and videos, and the targets.

    Attributes:
        z_UD: user embeddings.
        x_VD: item embeddings.
        user_P, row_P: user and video of each target, sorted by user, each pair once.
    """

    z_UD: NDArray[np.float32]
    x_VD: NDArray[np.float32]
    user_P: Ranks
    row_P: Ranks

    def head(self, num_users: int) -> "RankingTask":
        """Return the task of the first users only."""
        end = int(np.searchsorted(self.user_P, num_users))
        return RankingTask(self.z_UD[:num_users], self.x_VD, self.user_P[:end], self.row_P[:end])


def main() -> int:
    """Run the benchmark. Returns the exit code."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m benchmarks.speed.full_ranking", None, __doc__, formatter_class=form
    )
    parser.add_argument("--users", type=int, default=100_000, help="number of users (default: %(default)s)")
    parser.add_argument("--videos", type=int, default=100_000, help="number of videos (default: %(default)s)")
    parser.add_argument("--width", type=int, default=64, help="width of the vectors (default: %(default)s)")
    parser.add_argument("--targets", type=int, default=3, help="targets of each user (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads (default: %(default)s, as in the steps)"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each contender (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/evaluate.json")
    args = parser.parse_args()
    figures: dict[str, Any] = {
        "videos": args.videos,
        "width": args.width,
        "targets": args.targets,
        "threads": args.threads,
        "versions": {name: _package_version(name) for name in ("torch", "numpy", "faiss-cpu")},
    }
    ratios: dict[str, float] = {}
    sizes = args.videos, args.width, args.targets
    for name, make in TASKS.items():
        results = benchmark_task(make(args.users, *sizes), args.threads, args.repeats)
        rates = results["users_per_s"]
        figures[name] = results
        ratios |= {
            f"{name}: undercurrent over {peer}": round(rates["undercurrent"] / rate, 2)
            for peer, rate in rates.items()
            if peer != "undercurrent"
        }
    publish_result("evaluate", figures, ratios, args.keep)
    return 0


def make_deep_targets(num_users: int, num_videos: int, width: int, num_targets: int) -> RankingTask:
    """Make targets at all ranks, some of them near the top. No video is better for all users."""
    rng = np.random.default_rng(1)
    z_UD, x_VD = (rng.standard_normal((n, width), dtype=np.float32) for n in (num_users, num_videos))
    candidates_P = np.repeat(rng.choice(CANDIDATE_COUNTS, num_users), num_targets)
    user_P, row_P = np.repeat(np.arange(num_users), num_targets), np.empty(num_users * num_targets, np.int64)
    for num_candidates in CANDIDATE_COUNTS:
        for index_P in np.array_split(
            np.flatnonzero(candidates_P == num_candidates), 1 + num_users * num_candidates // 200_000
        ):
            drawn_PC = rng.integers(0, num_videos, (len(index_P), num_candidates))
            score_PC = np.einsum("pd,pgd->pg", z_UD[user_P[index_P]], x_VD[drawn_PC])
            row_P[index_P] = drawn_PC[np.arange(len(index_P)), score_PC.argmax(1)]
    return _make_task(z_UD, x_VD, user_P, row_P)


def make_top_targets(num_users: int, num_videos: int, width: int, num_targets: int) -> RankingTask:
    """Make targets among the first ranks of each user, with a tenth of the users."""
    rng, num_users = np.random.default_rng(2), max(1, num_users // 10)
    z_UD, x_VD = (rng.standard_normal((n, width), dtype=np.float32) for n in (num_users, num_videos))
    best_UK = np.concatenate(
        [
            np.argpartition(-z @ x_VD.T, MAX_CUTOFF // 2)[:, : MAX_CUTOFF // 2]
            for z in np.array_split(z_UD, 1 + num_users // 64)
        ]
    )
    row_UK = rng.permuted(best_UK, axis=1)[:, :num_targets]
    return _make_task(z_UD, x_VD, np.repeat(np.arange(num_users), row_UK.shape[1]), row_UK.ravel())


TASKS = {"deep targets": make_deep_targets, "top targets": make_top_targets}


def _make_task(z_UD: NDArray, x_VD: NDArray, user_P: Ranks, row_P: Ranks) -> RankingTask:
    pairs = np.unique(np.stack([user_P, row_P], 1), axis=0)
    return RankingTask(z_UD, x_VD, pairs[:, 0].copy(), pairs[:, 1].copy())


def undercurrent(task: RankingTask) -> Ranks:
    """Rank with pruning, `models/retrieval/topk_ranking.py`."""
    z_UD, x_VD = torch.from_numpy(task.z_UD), torch.from_numpy(task.x_VD)
    no_seen_items = SeenItems(torch.zeros(len(z_UD) + 1, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    rank_chunks = topk_ranks(
        lambda users_B: lambda at, rows: z_UD[users_B][at] @ x_VD[rows].T,
        no_seen_items,
        torch.from_numpy(task.user_P),
        torch.from_numpy(task.row_P),
        len(x_VD),
        MAX_CUTOFF,
    )
    return torch.cat([rank_P for _, rank_P in rank_chunks]).numpy()


def dense_counting(task: RankingTask) -> Ranks:
    """Compute all scores and count those above each target, `models/retrieval/full_ranking.py`."""
    x_VD = torch.from_numpy(task.x_VD)
    rank_chunks = []
    for start, user_P, row_P in _user_batches(task):
        score_BV = torch.from_numpy(task.z_UD[start : start + BATCH_SIZE]) @ x_VD.T
        rank_chunks.append(target_ranks(score_BV, torch.from_numpy(user_P), torch.from_numpy(row_P)).numpy())
    return np.concatenate(rank_chunks)


def dense_torch_topk(task: RankingTask) -> Ranks:
    """Compute all scores, take torch's top-k and look the targets up in it."""
    x_VD = torch.from_numpy(task.x_VD)
    rank_chunks = []
    for start, user_P, row_P in _user_batches(task):
        best_BK = (torch.from_numpy(task.z_UD[start : start + BATCH_SIZE]) @ x_VD.T).topk(MAX_CUTOFF).indices
        rank_chunks.append(_ranks_in_topk(best_BK.numpy(), user_P, row_P))
    return np.concatenate(rank_chunks)


def faiss_flat_index(task: RankingTask) -> Ranks:
    """Search exactly with FAISS and look the targets up in the result."""
    import faiss

    faiss.omp_set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    index = faiss.IndexFlatIP(task.x_VD.shape[1])
    index.add(task.x_VD)
    return _ranks_in_topk(index.search(task.z_UD, MAX_CUTOFF)[1], task.user_P, task.row_P)


def dense_numpy_sort(task: RankingTask) -> Ranks:
    """Compute all scores and sort them: the simplest form."""
    rank_chunks = []
    for start, user_P, row_P in _user_batches(task):
        best_BV = np.argsort(-(task.z_UD[start : start + BATCH_SIZE] @ task.x_VD.T), axis=1)
        rank_chunks.append(_ranks_in_topk(best_BV[:, :MAX_CUTOFF], user_P, row_P))
    return np.concatenate(rank_chunks)


# Name -> function, and the share of the users that it ranks. The time of slow ones is linear in the users.
CONTENDERS: Mapping[str, tuple[Callable[[RankingTask], Ranks], float]] = {
    "undercurrent": (undercurrent, 1.0),
    "dense, counted ranks": (dense_counting, 0.1),
    "dense, torch top-k": (dense_torch_topk, 0.1),
    "dense, numpy sort": (dense_numpy_sort, COMMON_SHARE),
    "FAISS flat": (faiss_flat_index, 1.0),
}


def _user_batches(task: RankingTask) -> Any:
    """Yield batches: the first user, and the targets' users (counted from it) and videos."""
    for start in range(0, len(task.z_UD), BATCH_SIZE):
        low, high = np.searchsorted(task.user_P, [start, start + BATCH_SIZE])
        yield start, task.user_P[low:high] - start, task.row_P[low:high]


def _ranks_in_topk(best_BK: NDArray, user_P: Ranks, row_P: Ranks) -> Ranks:
    """Return the rank of each target in its user's list, K + 1 if it is not in the list."""
    hit_PK = best_BK[user_P] == row_P[:, None]
    return np.where(hit_PK.any(1), hit_PK.argmax(1) + 1, best_BK.shape[1] + 1)


def benchmark_task(task: RankingTask, threads: int, repeats: int) -> dict[str, Any]:
    """Measure users/s and peak memory of each contender, and the metrics.

    Args:
        repeats: runs of each contender.

    Raises:
        RuntimeError: the metrics of two contenders differ.
    """
    runs_by_contender: dict[str, list[dict[str, Any]]] = {
        name: [] for name in CONTENDERS if _is_installed(name)
    }
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with tempfile.TemporaryDirectory(prefix="undercurrent-evaluate-") as folder:
        for field, array in vars(task).items():
            np.save(Path(folder) / f"{field}.npy", array)
        for turn in range(repeats):
            for name, runs in runs_by_contender.items():
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    runs.append(pool.apply(_run_contender, (name, folder)))
                print(f"turn {turn + 1}, {name}: {runs[-1]['users_per_s']:.0f} users/s", file=sys.stderr)
    return {
        "users": len(task.z_UD),
        **{
            rate: {name: round(median(run[rate] for run in runs)) for name, runs in runs_by_contender.items()}
            for rate in ("users_per_s", "users_per_cpu_s")
        },
        "peak_mib": {name: max(run["peak_mib"] for run in runs) for name, runs in runs_by_contender.items()},
        "metrics": runs_by_contender["undercurrent"][0]["metrics"],
        "max_metric_difference": _max_metric_difference(runs_by_contender),
    }


def _run_contender(name: str, folder: str) -> dict[str, Any]:
    """Run one contender once, in this process. Its peak memory does not include the input."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    fields = ("z_UD", "x_VD", "user_P", "row_P")
    full_task = RankingTask(*(np.load(Path(folder) / f"{field}.npy") for field in fields))
    compute_ranks, share = CONTENDERS[name]
    task, peak_before = full_task.head(max(1, int(share * len(full_task.z_UD)))), peak_mib()
    compute_ranks(task.head(min(BATCH_SIZE, len(task.z_UD))))
    started, cpu_start = time.perf_counter(), time.process_time()
    rank_P = compute_ranks(task)
    metrics = compute_metrics(rank_P, task)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_start
    common_task = full_task.head(max(1, int(COMMON_SHARE * len(full_task.z_UD))))
    return {
        "users_per_s": len(task.z_UD) / seconds,
        "users_per_cpu_s": len(task.z_UD) / cpu_seconds,
        "peak_mib": peak_mib() - peak_before,
        "metrics": metrics,
        "common": compute_metrics(rank_P[: len(common_task.user_P)], common_task),
    }


def compute_metrics(rank_P: Ranks, task: RankingTask) -> dict[str, float]:
    """Compute the metrics of these ranks."""
    measures = {"ndcg": ndcg, "recall": recall, "mrr": mrr}
    return {
        f"{name}@{k}": float(np.nanmean(metric(rank_P, task.user_P, len(task.z_UD), k)))
        for name, metric in measures.items()
        for k in CUTOFFS
    }


def _max_metric_difference(runs_by_contender: Mapping[str, list[dict[str, Any]]]) -> float:
    """Return the largest difference from undercurrent's metrics, on the users that all contenders rank."""
    expected, largest = runs_by_contender["undercurrent"][0]["common"], 0.0
    for name, runs in runs_by_contender.items():
        difference = max(abs(runs[0]["common"][key] - value) for key, value in expected.items())
        if difference > 1e-3:
            raise RuntimeError(
                f"{name} and undercurrent differ by {difference} in a metric; at most 0.001 is allowed"
            )
        largest = max(largest, difference)
    return largest


def _is_installed(name: str) -> bool:
    if name == "FAISS flat" and _package_version("faiss-cpu") == "not installed":
        print("FAISS is not installed and is left out", file=sys.stderr)
        return False
    return True


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
