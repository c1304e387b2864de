"""Distil the trained model of a night into students, and compare quality, latency and size.

The teacher is the trained model in the night's workspace. Each student is trained twice, with the teacher
and without. All models rank the same users of the test day. Latency is measured in turns in one process, so
only its ratios count. Students stay in `students/` of the workspace, so a second run trains only new ones.
The last line is the JSON result.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.result import publish_result, round_interval
from benchmarks.turns import median_seconds
from core.config import load_params
from core.errors import REFUSED_INPUT, InputError
from core.hashing import BUNDLE_FILES
from core.paths import PROJECT_ROOT, Night, parse_day
from evaluation.metrics import metric_per_user
from evaluation.ranking import load_scorer, rank_model, read_test_targets
from models.evaluation.metrics import Floats, ndcg, paired_bootstrap
from models.evaluation.scoring import RankingResult, Scorer
from models.retrieval.full_ranking import top_k
from snapshots.reader import SnapshotReader
from training.distillation import StudentConfig
from undercurrent.distil import distil, num_parameters

TEACHER, DISTILLED, ALONE = "teacher", "distilled", "alone"
K = 10
BOOTSTRAP_SAMPLES = 2000
ROUNDS = 30  # in each of which every model is timed once
BATCH_SIZES = (1, 64)  # users of a request


def main() -> int:
    """Run the benchmark.

    Returns:
        0: done. 2: an input is refused.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.distillation", description=__doc__)
    parser.add_argument("--name", required=True, help="name of the data, for the result")
    parser.add_argument("--night", required=True, metavar="YYYY-MM-DD", help="night with a trained model")
    parser.add_argument("--workspace", type=Path, required=True, help="folder of the night's files")
    parser.add_argument(
        "--params",
        type=Path,
        default=PROJECT_ROOT / "params.yaml",
        help="parameter file (default: params.yaml)",
    )
    parser.add_argument("--students", nargs="+", default=("mean-32",), metavar="ENCODER-WIDTH")
    parser.add_argument(
        "--keep", action="store_true", help="write benchmarks/results/distillation-<name>.json"
    )
    args = parser.parse_args()
    night = Night(parse_day(args.night), args.workspace.resolve(), args.params.resolve())
    try:
        figures = measure(night, args.students)
    except InputError as error:
        print(f"distillation: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    publish_result(f"distillation-{args.name}", figures, ratios_to_teacher(figures), args.keep)
    return 0


def measure(night: Night, students: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Train the students, and return the figures of each model.

    Args:
        night: With a trained model.
        students: Encoder and width of each.

    Raises:
        InputError: A student is not `ENCODER-WIDTH`, or the night has no trained model.
    """
    torch.set_num_threads(1)
    nights = {TEACHER: night}
    for name in students:
        for weight, suffix in ((1.0, DISTILLED), (0.0, ALONE)):
            label = f"{name} {suffix}"
            nights[label] = train_student(night, label, student_config(name, weight))
    scorers = {
        name: load_scorer(each.workspace / "train", SnapshotReader(each)) for name, each in nights.items()
    }
    targets = read_test_targets(scorers[TEACHER], SnapshotReader(night))
    ranked = {name: rank_model(name, scorer, targets, K)[0] for name, scorer in scorers.items()}
    per_user = {name: metric_per_user(ndcg, ranking, targets, K) for name, ranking in ranked.items()}
    seconds = time_requests(scorers, targets.users)
    return {
        name: {
            "ndcg@10": round(float(per_user[name].mean()), 4),
            "minus_teacher": difference(per_user[name] - per_user[TEACHER]),
            **minus_alone(name, per_user),
            "overlap@10": round(overlap(ranked[name], ranked[TEACHER]), 3),
            "parameters": num_parameters(scorer.model),
            "mib": round(bundle_mib(nights[name].workspace / "train"), 2),
            **{f"ms_of_{size}_users": round(1000 * seconds[name, size], 3) for size in BATCH_SIZES},
        }
        for name, scorer in scorers.items()
    }


def student_config(name: str, teacher_weight: float) -> StudentConfig:
    """Return the student that a name such as `mean-32` describes.

    Raises:
        InputError: It describes none.
    """
    encoder, _, width = name.partition("-")
    if not width.isdecimal():
        raise InputError(f"--students has {name!r}; write ENCODER-WIDTH, such as mean-32")
    return StudentConfig(int(width), encoder, teacher_weight)


def train_student(night: Night, label: str, config: StudentConfig) -> Night:
    """Train a student, unless an earlier run did, and return its night."""
    folder = night.workspace / "students" / label.replace(" ", "-")
    student_night = Night(night.day, folder, night.params_path)
    if not (student_night.run_manifests / "train.json").is_file():
        distil(load_params(night.params_path).train, night, student_night, config)
    return student_night


def overlap(ranking: RankingResult, other: RankingResult) -> float:
    """Return the share of the best videos of one ranking that are among those of the other."""
    common_BKK = ranking.top_BK[:, :, None] == other.top_BK[:, None, :]
    return float(common_BKK.any(2).float().mean())


def bundle_mib(folder: Path) -> float:
    """Return the size of a saved model in MiB."""
    return sum((folder / name).stat().st_size for name in BUNDLE_FILES) / (1 << 20)


@torch.no_grad()
def time_requests(scorers: Mapping[str, Scorer], users: torch.Tensor) -> dict[tuple[str, int], float]:
    """Return the median seconds of a request for each model and number of users.

    The embeddings of the videos are computed before, as in the served model.

    Args:
        scorers: The models.
        users: Users to draw requests from.
    """
    items: dict[str, Any] = {
        name: scorer.model.encode_items(scorer.item_table) for name, scorer in scorers.items()
    }
    random = torch.Generator().manual_seed(1)

    def turns() -> Iterator[dict[tuple[str, int], Callable[[], object]]]:
        for _ in tqdm(range(ROUNDS), "latency", unit="round"):
            for size in BATCH_SIZES:
                users_B = users[torch.randint(len(users), (size,), generator=random)]
                yield {
                    (name, size): partial(recommend, scorer, items[name], users_B)
                    for name, scorer in scorers.items()
                }

    return median_seconds(turns())


def recommend(scorer: Scorer, items: Any, users_B: torch.Tensor) -> torch.Tensor:
    """Return the best videos of each user, as the served model does."""
    model, batch = scorer.model, scorer.batch(users_B)
    state = model.encode_user(batch, scorer.user_data.profiles.select(users_B), items)
    score_BV, _ = model.score_items(state, items)
    score_BV = model.final_scores(score_BV, items, batch, scorer.item_table, scorer.day)
    return top_k(model.rerank(state, items, scorer.masked(users_B, score_BV)), K)


def minus_alone(name: str, per_user: Mapping[str, Floats]) -> dict[str, Any]:
    """Return the difference of a distilled student from the same one alone. Empty for other models."""
    alone = name.replace(DISTILLED, ALONE)
    return {"minus_alone": difference(per_user[name] - per_user[alone])} if alone != name else {}


def difference(difference_B: Floats) -> dict[str, Any]:
    """Return the mean difference with its interval."""
    return round_interval(paired_bootstrap(difference_B, BOOTSTRAP_SAMPLES, 1))


def ratios_to_teacher(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return quality kept, latency and size of each student, divided by those of the teacher."""
    teacher, columns = figures[TEACHER], ("ndcg@10", "mib", *(f"ms_of_{size}_users" for size in BATCH_SIZES))
    return {
        f"{name} {column}": round(row[column] / teacher[column], 3)
        for name, row in figures.items()
        if name != TEACHER
        for column in columns
        if teacher[column]
    }


if __name__ == "__main__":
    sys.exit(main())
