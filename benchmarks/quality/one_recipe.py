"""Train and evaluate the steps' own model on a published split, with the recipe of params.yaml.

The data set is written as the snapshot of a night. Then align, train and evaluate run as on every night. So
nothing is tuned for the set. `benchmarks.quality.ranking` has the settings that were chosen for each set. The
last line is the JSON result.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.quality.nights import run_command
from benchmarks.quality.sets.movielens import embed_texts
from benchmarks.quality.snapshot_files import TEST_DAY, write_snapshot
from benchmarks.result import publish_result
from core.errors import REFUSED_INPUT, InputError
from core.paths import PROJECT_ROOT, Night
from datasets import beauty, movielens1m, tiktok
from datasets.split import SplitDataset

READERS: Mapping[str, Callable[[Path], SplitDataset]] = {
    "beauty": beauty.read_split,
    "movielens1m": lambda path: movielens1m.read_split(path, embed_texts),
    "tiktok": tiktok.read_split,
}
STEPS = ("align", "train", "evaluate")
SHOWN_METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")


def main() -> int:
    """Run the benchmark.

    Returns:
        0: done. 2: the release or a parameter is refused.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.one_recipe", description=__doc__)
    parser.add_argument("--set", required=True, choices=READERS, help="name of the data set")
    parser.add_argument("--path", type=Path, required=True, help="folder of the release")
    parser.add_argument(
        "--params",
        type=Path,
        default=PROJECT_ROOT / "params.yaml",
        help="parameter file (default: params.yaml)",
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/one-recipe-<set>.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="undercurrent-one-recipe-") as folder:
        try:
            metrics = run_steps(READERS[args.set](args.path), Path(folder), args.params)
        except InputError as error:
            print(f"one_recipe: refused: {error}", file=sys.stderr)
            return REFUSED_INPUT
    publish_result(f"one-recipe-{args.set}", *summarise(metrics), args.keep)
    return 0


def run_steps(dataset: SplitDataset, home: Path, params_path: Path) -> dict:
    """Write the snapshot, run the steps in processes of their own, and return `details.json`.

    Args:
        dataset: The data set with its split.
        home: Folder that becomes UNDERCURRENT_HOME.
        params_path: Parameter file of the steps.

    Raises:
        InputError: A step refused its input.
    """
    night = Night(TEST_DAY, home / "night", params_path)
    write_snapshot(dataset, night)
    for step in STEPS:
        arguments = (
            "--night",
            str(TEST_DAY),
            "--workspace",
            str(night.workspace),
            "--params",
            str(params_path),
        )
        if run_command(home, f"tasks.{step}", *arguments):
            raise InputError(f"step {step} refused the data set; see its message above")
    return json.loads((night.workspace / "evaluate" / "details.json").read_text(encoding="utf-8"))


def summarise(metrics: Mapping) -> tuple[dict, dict]:
    """Return the metrics of each model, the differences of NDCG@10, and the ratios to each baseline."""
    models = {
        name: {metric: round(values[metric], 4) for metric in SHOWN_METRICS if metric in values}
        for name, values in metrics["models"].items()
    }
    differences = {name: values["ndcg@10"] for name, values in metrics["differences"].items()}
    ours = models["challenger"]["ndcg@10"]
    ratios = {
        f"challenger_over_{name}": round(ours / values["ndcg@10"], 3)
        for name, values in models.items()
        if name != "challenger" and values["ndcg@10"]
    }
    return {"users": metrics["num_users"], **models, "differences_of_ndcg@10": differences}, ratios


if __name__ == "__main__":
    sys.exit(main())
