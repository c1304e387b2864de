"""Run nights of simulated platforms and compare the model with every baseline.

Each file of params/simulator/ is a platform. All use the recipe of params.yaml, so nothing is tuned for one
platform. All steps up to the evaluation run, each in its own process. Data and nights stay in the working
folder. So a second run, such as one with another recipe, trains and evaluates only. The results of all users,
nights and seeds of a platform are pooled. `--learned` trains baselines of params/baselines/, too. The last
line is the JSON result.
"""

import argparse
import os
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml
from tqdm import tqdm

from benchmarks.quality.nights import run_command
from benchmarks.quality.simulator_lake import last_night
from benchmarks.result import publish_result, round_interval
from core.baselines import BASELINE_LABELS
from core.errors import InputError
from core.hashing import hash_file
from core.paths import PROJECT_ROOT, parse_day
from models.evaluation.metrics import Floats, paired_bootstrap

FOLDER = PROJECT_ROOT / "params" / "simulator"
BASELINE_FOLDER = PROJECT_ROOT / "params" / "baselines"
PLATFORMS = ("topics", "static", "noise", "impersonal", "sessions", "personalised", "ephemeral")
DATA_STEPS = ("ingest", "clean", "embed", "check", "sequences", "snapshot")
MODEL_STEPS = ("align", "train", "evaluate")
# With --small: a platform that one core makes and evaluates in about two minutes.
SMALL = {"users": 150, "videos": 200, "new_users_per_day": 2, "new_videos_per_day": 6}
LEARNED = ("sasrec", "esasrec", "bert4rec", "lightgcn", "mf_bpr")  # files of params/baselines/
BOOTSTRAP_SAMPLES = 2000
PerUser = dict[str, Floats]


def main() -> int:
    """Run the benchmark.

    Returns:
        0: done. 2: an input is refused.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.platforms", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="working folder; it may hold an earlier run")
    parser.add_argument(
        "--platforms", nargs="+", default=PLATFORMS, choices=PLATFORMS, help="platforms (default: all)"
    )
    parser.add_argument(
        "--nights", type=int, default=3, help="nights of each platform (default: %(default)s)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds of training (default: %(default)s)")
    parser.add_argument("--recipe", type=Path, help="parameter overlay for the model steps")
    parser.add_argument(
        "--learned", nargs="+", default=(), choices=LEARNED, help="baselines to train, too (default: none)"
    )
    parser.add_argument("--small", action="store_true", help="small platforms, for a quick check")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/platforms.json")
    args = parser.parse_args()
    figures = {}
    for platform in tqdm(args.platforms, "platforms", unit="platform"):
        try:
            figures[platform] = measure_platform(platform, args)
        except InputError as error:
            print(f"platforms: refused: {error}", file=sys.stderr)
            return 2
        print(platform, figures[platform], file=sys.stderr)
    ratios = {}
    for platform, figure in figures.items():
        ndcg = figure["ndcg@10"]
        for kind, comparison in figure["best"].items():
            if reference := ndcg[comparison["name"]]:
                ratios[f"{platform}_over_best_{kind}_baseline"] = round(ndcg["ours"] / reference, 3)
    publish_result("platforms-small" if args.small else "platforms", figures, ratios, args.keep)
    return 0


def measure_platform(platform: str, args: argparse.Namespace) -> dict:
    """Run the nights of a platform with every seed, and summarise them.

    Args:
        platform: Name of a file in params/simulator/.
        args: The command line.

    Raises:
        InputError: A step refused its input.
    """
    folder = args.work.resolve() / (f"{platform}-small" if args.small else platform)
    params_path = write_params(platform, folder, args.small)
    nights = make_nights(folder, params_path, args.nights)
    results = []
    for seed in range(1, args.seeds + 1):
        parts = [run_models(folder, night, params_path, args, seed) for night in nights]
        results.append({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    return summarise(results)


def write_params(platform: str, folder: Path, small: bool) -> Path:
    """Write the parameter file of a platform, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "params.yaml"
    overlay = {"base": str(FOLDER / f"{platform}.yaml"), **({"simulator": SMALL} if small else {})}
    path.write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return path


def make_nights(folder: Path, params_path: Path, num_nights: int) -> list[str]:
    """Simulate the platform and run its last nights up to the snapshot, unless an earlier run did.

    Returns:
        The nights as YYYY-MM-DD, oldest first.

    Raises:
        InputError: A step refused its input.
    """
    os.environ["UNDERCURRENT_LANDING"] = str(folder / "make" / "landing")
    if not (folder / "make" / "ground_truth" / "simulator.json").is_file():
        _run(folder, "simulator", "make", "--features", "--params", params_path, "--out", folder / "make")
    last = parse_day(last_night(folder / "make"))
    nights = [str(last - timedelta(days)) for days in reversed(range(num_nights))]
    for night in nights:
        workspace = folder / "nights" / night
        if not (workspace / "run_manifests" / "snapshot.json").is_file():
            for step in DATA_STEPS:
                _run_step(folder, step, night, workspace, params_path)
    return nights


def run_models(folder: Path, night: str, params_path: Path, args: argparse.Namespace, seed: int) -> PerUser:
    """Train and evaluate the model and the learned baselines on one night.

    Args:
        folder: Of the platform.
        night: The night, after the step snapshot.
        params_path: Parameter file of the platform.
        args: The command line.
        seed: Of alignment and training.

    Returns:
        Name of the model -> NDCG@10 of each test user.

    Raises:
        InputError: A step refused its input.
    """
    ndcg = run_model(folder, night, params_path, args.recipe, seed)
    for name in args.learned:
        recipe = BASELINE_FOLDER / f"{name}.yaml"
        ndcg[name] = run_model(folder, night, params_path, recipe, seed)["ours"]
    return ndcg


def run_model(folder: Path, night: str, params_path: Path, recipe: Path | None, seed: int) -> PerUser:
    """Train and evaluate one night with one seed.

    Args:
        folder: Of the platform.
        night: The night, after the step snapshot.
        params_path: Parameter file of the platform.
        recipe: Parameter overlay for the model steps.
        seed: Of alignment and training.

    Returns:
        Name of the model -> NDCG@10 of each test user.

    Raises:
        InputError: A step refused its input.
    """
    content = yaml.safe_load(recipe.read_text(encoding="utf-8")) or {} if recipe else {}
    name = "default" if recipe is None else f"{recipe.stem}-{hash_file(recipe)[:8]}"
    workspace = folder / "runs" / name / str(seed) / night
    workspace.mkdir(parents=True, exist_ok=True)
    if not (workspace / "snapshot").exists():
        (workspace / "snapshot").symlink_to(folder / "nights" / night / "snapshot")
    content["base"] = str(params_path)
    for section in ("align", "train"):
        content[section] = {**content.get(section, {}), "seed": seed}
    run_params = workspace / "params.yaml"
    run_params.write_text(yaml.safe_dump(content), encoding="utf-8")
    if not (workspace / "run_manifests" / "evaluate.json").is_file():
        shutil.rmtree(workspace / "run_manifests", ignore_errors=True)
        for step in MODEL_STEPS:
            _run_step(folder, step, night, workspace, run_params)
    table = pq.read_table(workspace / "evaluate" / "per_user.parquet")
    names = {"ours": "challenger", **{name: name for name in BASELINE_LABELS}}
    return {name: table[f"ndcg_{column}"].to_numpy() for name, column in names.items()}


def summarise(results: list[PerUser]) -> dict:
    """Return the mean NDCG@10 of each model, and the difference from the best baseline of each kind.

    Args:
        results: For each seed, name of the model -> NDCG@10 of each user and night.
    """
    ndcg = {name: round(float(np.mean([result[name] for result in results])), 4) for name in results[0]}
    groups = {"counted": [*BASELINE_LABELS], "learned": [name for name in LEARNED if name in ndcg]}
    return {
        "user_nights": len(results[0]["ours"]),
        "seeds": len(results),
        "ndcg@10": ndcg,
        "best": {
            kind: _compare(results, max(names, key=lambda name: ndcg[name]))
            for kind, names in groups.items()
            if names
        },
    }


def _compare(results: list[PerUser], baseline: str) -> dict:
    """Return the name of the baseline, and the difference of our NDCG@10 from it with its interval."""
    difference = np.stack([result["ours"] - result[baseline] for result in results])
    interval = paired_bootstrap(difference if len(results) > 1 else difference[0], BOOTSTRAP_SAMPLES, 1)
    return {"name": baseline, **round_interval(interval)}


def _run_step(folder: Path, step: str, night: str, workspace: Path, params_path: Path) -> None:
    _run(folder, f"tasks.{step}", "--night", night, "--workspace", workspace, "--params", params_path)


def _run(folder: Path, module: str, *arguments: object) -> None:
    """Run a module with the platform's own home.

    Raises:
        InputError: It refused its input.
    """
    if run_command(folder / "home", module, *map(str, arguments)):
        raise InputError(f"{folder}: {module} refused its input; see its message above")


if __name__ == "__main__":
    sys.exit(main())
