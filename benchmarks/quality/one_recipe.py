"""Train and evaluate the steps' own model on a published split, with the recipe of params.yaml.

The data set is written as the snapshot of a night. Then align, train and evaluate run as on every night. So
nothing is tuned for the set. `benchmarks.quality.ranking` has the settings that were chosen for each set. The
metrics are means over the seeds. The last line is the JSON result.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import yaml
from tqdm import tqdm

from benchmarks.quality.nights import run_command
from benchmarks.quality.sets.movielens import embed_texts
from benchmarks.quality.snapshot_files import TEST_DAY, write_snapshot
from benchmarks.result import publish_result, round_interval
from core.errors import REFUSED_INPUT, InputError
from core.paths import PROJECT_ROOT, Night
from datasets import beauty, movielens1m, tiktok
from datasets.split import SplitDataset
from models.evaluation.metrics import Floats, paired_bootstrap

READERS: Mapping[str, Callable[[Path], SplitDataset]] = {
    "beauty": beauty.read_split,
    "movielens1m": lambda path: movielens1m.read_split(path, embed_texts),
    "tiktok": tiktok.read_split,
}
STEPS = ("align", "train", "evaluate")
SHOWN_METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")
BOOTSTRAP_SAMPLES = 2000


@dataclass(frozen=True)
class SeedResult:
    """The evaluation of the models of one seed.

    Attributes:
        metrics: Name of the model -> name of the metric -> mean over the users.
        ndcg: Name of the model -> NDCG@10 of each user.
    """

    metrics: Mapping[str, Mapping[str, float]]
    ndcg: Mapping[str, Floats]


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
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[1],
        help="seeds of alignment and training, instead of those of the file (default: 1)",
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/one-recipe-<set>.json")
    args = parser.parse_args()
    try:
        dataset = READERS[args.set](args.path)
        results = {
            seed: run_seed(dataset, args.params, seed) for seed in tqdm(args.seeds, "seeds", unit="seed")
        }
    except InputError as error:
        print(f"one_recipe: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    publish_result(f"one-recipe-{args.set}", *summarise(results), args.keep)
    return 0


def run_seed(dataset: SplitDataset, params_path: Path, seed: int) -> SeedResult:
    """Write the snapshot, and run the steps in processes of their own.

    Args:
        dataset: The data set with its split.
        params_path: Parameter file of the steps.
        seed: Of alignment and training.

    Raises:
        InputError: A step refused its input.
    """
    with tempfile.TemporaryDirectory(prefix="undercurrent-one-recipe-") as folder:
        home = Path(folder)
        seeds = {section: {"seed": seed} for section in ("align", "train")}
        night = Night(TEST_DAY, home / "night", home / "params.yaml")
        night.params_path.write_text(yaml.safe_dump({"base": str(params_path.resolve()), **seeds}), "utf-8")
        write_snapshot(dataset, night)
        for step in STEPS:
            arguments = ("--night", TEST_DAY, "--workspace", night.workspace, "--params", night.params_path)
            if run_command(home, f"tasks.{step}", *map(str, arguments)):
                raise InputError(f"step {step} refused the data set; see its message above")
        evaluation = night.workspace / "evaluate"
        metrics = json.loads((evaluation / "details.json").read_text(encoding="utf-8"))["models"]
        table = pq.read_table(evaluation / "per_user.parquet")
        return SeedResult(metrics, {name: table[f"ndcg_{name}"].to_numpy() for name in metrics})


def summarise(results: Mapping[int, SeedResult]) -> tuple[dict, dict]:
    """Return the figures and the ratios of NDCG@10 to each baseline.

    Args:
        results: Seed -> result.

    Returns:
        The figures are the metrics of each model as means over the seeds, those of the challenger for each
        seed, and the differences of NDCG@10 from each baseline with their intervals.
    """
    seeds = [*results.values()]
    models = {name: _mean_metrics([seed.metrics[name] for seed in seeds]) for name in seeds[0].metrics}
    baselines = [name for name in models if name != "challenger"]
    figures = {
        "users": len(seeds[0].ndcg["challenger"]),
        **models,
        "challenger_by_seed": {
            seed: _mean_metrics([result.metrics["challenger"]]) for seed, result in results.items()
        },
        "differences_of_ndcg@10": {name: _difference(seeds, name) for name in baselines},
    }
    ours = models["challenger"]["ndcg@10"]
    ratios = {
        f"challenger_over_{name}": round(ours / models[name]["ndcg@10"], 3)
        for name in baselines
        if models[name]["ndcg@10"]
    }
    return figures, ratios


def _mean_metrics(by_seed: Sequence[Mapping[str, float]]) -> dict[str, float]:
    shown = [metric for metric in SHOWN_METRICS if metric in by_seed[0]]
    return {metric: round(float(np.mean([values[metric] for values in by_seed])), 4) for metric in shown}


def _difference(seeds: Sequence[SeedResult], baseline: str) -> dict:
    """Return the difference of our NDCG@10 from that of a baseline, with its 95 % interval."""
    difference = np.stack([seed.ndcg["challenger"] - seed.ndcg[baseline] for seed in seeds])
    return round_interval(
        paired_bootstrap(difference if len(seeds) > 1 else difference[0], BOOTSTRAP_SAMPLES, 1)
    )


if __name__ == "__main__":
    sys.exit(main())
