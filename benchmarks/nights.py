"""Nights of a real data set through the real steps, beside popularity and ItemCF.

Imports the release, runs every step up to the gate for some nights in a row, each a process of its own as in
production, and pools the per-person results of all nights. The last line is the JSON result.
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

from benchmarks.result import publish
from contracts.errors import REFUSED_INPUT
from contracts.place import PROJECT, parse_day
from contracts.steps import STEPS
from models.metrics import bootstrap

MODELS = ("challenger", "popularity", "trending", "itemcf")
LAST = "gate"
MAY_REFUSE = ("ingest", "snapshot", "evaluate")  # a day without events, or without anybody to measure on


def main() -> int:
    """Command line; exit code 1: a step failed, or nothing could be measured; 2: the release is refused."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nights", description=__doc__)
    parser.add_argument("--source", required=True, choices=("movielens", "segmm"))
    parser.add_argument("--path", type=Path, required=True, help="folder of the release")
    parser.add_argument("--first", required=True, metavar="YYYY-MM-DD", help="the first night")
    parser.add_argument("--nights", type=int, default=3, help="nights in a row (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/nights-<source>.json")
    args = parser.parse_args()
    first = parse_day(args.first, "--first")
    with tempfile.TemporaryDirectory(prefix="undercurrent-nights-") as folder:
        home = Path(folder)
        if command(home, "tasks.import_dataset", "--source", args.source, "--path", str(args.path.resolve())):
            return REFUSED_INPUT
        days = [first + timedelta(n) for n in range(args.nights)]
        people = [run(home, args.source, day) for day in tqdm(days, args.source, unit="night")]
    measured = [table for table in people if table is not None]
    if not measured:
        print(f"nothing could be measured on these nights of {args.source}", file=sys.stderr)
        return 1
    publish(
        f"nights-{args.source}", *summary(pa.concat_tables(measured, promote_options="default")), args.keep
    )
    return 0


def run(home: Path, source: str, day: date) -> pa.Table | None:
    """One night up to the gate; its per-person results, or None when there was nobody to measure on."""
    workspace = home / "nights" / str(day)
    for step in list(STEPS)[: list(STEPS).index(LAST) + 1]:
        told = ["--night", str(day), "--workspace", str(workspace)]
        refused = command(
            home, f"tasks.{step}", *told, "--params", str(PROJECT / "params" / f"{source}.yaml")
        )
        if refused and step in MAY_REFUSE:
            return None
        if refused:
            raise RuntimeError(f"{step} refused the night {day}; see above")
    verdict = json.loads((workspace / "gate" / "verdict.json").read_text(encoding="utf-8"))
    print(f"{day}: {verdict['summary']}", file=sys.stderr)
    return pq.read_table(workspace / "evaluate" / "per_user.parquet")


def command(home: Path, module: str, *arguments: str) -> int:
    """Run a command of ours in a home of its own; returns 0, or 2 when it refused its input.

    Raises:
        RuntimeError: it failed.
    """
    environment = os.environ | {"UNDERCURRENT_HOME": str(home)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 2):
        raise RuntimeError(f"{module} {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    if done.returncode == 2:
        print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
    return done.returncode


def summary(people: pa.Table) -> tuple[dict, dict]:
    """Mean NDCG@10 of each model over all people and nights, and the paired differences with intervals."""
    ndcg = {model: people[f"ndcg_{model}"].to_numpy() for model in MODELS}
    figures: dict = {"person_nights": people.num_rows}
    figures |= {f"ndcg@10_{model}": round(float(values.mean()), 4) for model, values in ndcg.items()}
    for model in MODELS[1:]:
        difference = bootstrap(ndcg["challenger"] - ndcg[model], 2000, 1)
        figures[f"challenger_minus_{model}"] = {
            key: value and round(value, 4) for key, value in difference.items()
        }
    over = {m: float(ndcg["challenger"].mean() / np.maximum(ndcg[m].mean(), 1e-9)) for m in MODELS[1:]}
    return figures, {f"challenger_over_{model}": round(ratio, 3) for model, ratio in over.items()}


if __name__ == "__main__":
    sys.exit(main())
