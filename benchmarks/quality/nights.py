"""Run nights of a real data set with the real steps and compare the model with every counted baseline.

The benchmark imports the release and runs all steps up to the gate for several nights in a row. Each step has
its own process, as in production. The results of all users and nights are pooled. The last line is the JSON
result.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from benchmarks.result import publish_result, round_interval
from core.baselines import BASELINE_LABELS
from core.errors import REFUSED_INPUT
from core.paths import PROJECT_ROOT, parse_day
from core.step_graph import STEPS
from models.evaluation.metrics import paired_bootstrap

MODELS = ("challenger", *BASELINE_LABELS)
LAST_STEP = "gate"
# They refuse a day without events, or without users to evaluate.
STEPS_THAT_MAY_REFUSE = ("ingest", "snapshot", "evaluate")


def main() -> int:
    """Run the benchmark.

    Returns:
        0: done. 1: no night could be measured. 2: the release is refused.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.nights", description=__doc__)
    parser.add_argument(
        "--source", required=True, choices=("movielens", "segmm"), help="name of the data set"
    )
    parser.add_argument("--path", type=Path, required=True, help="folder of the release")
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--first", metavar="YYYY-MM-DD", help="first of some nights in a row")
    choice.add_argument("--dates", nargs="+", metavar="YYYY-MM-DD", help="single nights")
    parser.add_argument(
        "--nights", type=int, default=3, help="number of nights from --first on (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/nights-<source>.json")
    args = parser.parse_args()
    if args.dates:
        days = sorted(parse_day(night, "--dates") for night in args.dates)
    else:
        days = [parse_day(args.first, "--first") + timedelta(n) for n in range(args.nights)]
    with tempfile.TemporaryDirectory(prefix="undercurrent-nights-") as folder:
        home = Path(folder)
        if run_command(
            home,
            "undercurrent",
            "import-dataset",
            "--source",
            args.source,
            "--path",
            str(args.path.resolve()),
        ):
            return REFUSED_INPUT
        tables = [run_night(home, args.source, day) for day in tqdm(days, args.source, unit="night")]
    measured_tables = [table for table in tables if table is not None]
    if not measured_tables:
        print(
            f"nights: no user of {args.source} can be evaluated on the {len(days)} nights from {days[0]} on; "
            "give other nights",
            file=sys.stderr,
        )
        return 1
    publish_result(
        f"nights-{args.source}",
        *summarise(pa.concat_tables(measured_tables, promote_options="default")),
        args.keep,
    )
    return 0


def run_night(home: Path, source: str, day: date) -> pa.Table | None:
    """Run one night up to the gate.

    Returns:
        the results of each user, None if there was no user to evaluate.

    Raises:
        RuntimeError: a step failed, or a step refused its input that should not.
    """
    workspace = home / "nights" / str(day)
    for step in list(STEPS)[: list(STEPS).index(LAST_STEP) + 1]:
        arguments = ["--night", str(day), "--workspace", str(workspace)]
        exit_code = run_command(
            home, f"tasks.{step}", *arguments, "--params", str(PROJECT_ROOT / "params" / f"{source}.yaml")
        )
        if exit_code and step in STEPS_THAT_MAY_REFUSE:
            return None
        if exit_code:
            raise RuntimeError(f"step {step} refused the night {day}; see its message above")
    verdict = json.loads((workspace / "gate" / "verdict.json").read_text(encoding="utf-8"))
    print(f"{day}: {verdict['summary']}", file=sys.stderr)
    return pq.read_table(workspace / "evaluate" / "per_user.parquet")


def run_command(home: Path, module: str, *arguments: str) -> int:
    """Run a module of the project in a separate home.

    Args:
        home: the folder for UNDERCURRENT_HOME.
        module: module with a command line.

    Returns:
        0: done. 2: the module refused its input.

    Raises:
        RuntimeError: the module failed. The message holds the end of its output.
    """
    environment = os.environ | {"UNDERCURRENT_HOME": str(home)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    completed = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    )
    if completed.returncode not in (0, 2):
        raise RuntimeError(f"{module} {' '.join(arguments)} failed:\n{completed.stderr[-3000:]}")
    if completed.returncode == 2:
        print(completed.stderr.strip().splitlines()[-1], file=sys.stderr)
    return completed.returncode


def summarise(per_user: pa.Table) -> tuple[dict, dict]:
    """Return mean NDCG@10 of each model, the paired differences with intervals, and the ratios.

    Args:
        per_user: one row for each user and night, with a column `ndcg_<model>` for each model.
    """
    ndcg = {model: per_user[f"ndcg_{model}"].to_numpy() for model in MODELS}
    figures: dict = {"user_nights": per_user.num_rows}
    figures |= {f"ndcg@10_{model}": round(float(values.mean()), 4) for model, values in ndcg.items()}
    for model in MODELS[1:]:
        difference = paired_bootstrap(ndcg["challenger"] - ndcg[model], 2000, 1)
        figures[f"challenger_minus_{model}"] = round_interval(difference)
    over = {m: float(ndcg["challenger"].mean() / np.maximum(ndcg[m].mean(), 1e-9)) for m in MODELS[1:]}
    return figures, {f"challenger_over_{model}": round(ratio, 3) for model, ratio in over.items()}


if __name__ == "__main__":
    sys.exit(main())
