"""What each source of the final ranker adds: the ranker is fitted again without it.

A night has its snapshot. Align and train run as in the night. Then the final ranker is fitted on the
validation days with all sources, and without each of them. Each fit ranks the catalogue of the test day. All
nights are pooled; a user counts once for each night. The last line is the JSON result.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from benchmarks.quality.one_recipe import READERS
from benchmarks.quality.snapshot_files import TEST_DAY, write_snapshot
from benchmarks.result import publish_result, round_interval
from core.config import load_params
from core.config.models import InterestModelConfig
from core.errors import REFUSED_INPUT, InputError
from core.paths import PROJECT_ROOT, Night, parse_day
from evaluation.ranking import read_test_targets
from evaluation.sampled_users import evenly_spaced
from models.data.targets import Targets
from models.evaluation.metrics import Floats, ndcg, paired_bootstrap
from models.evaluation.scoring import Scorer, rank_catalogue, score_in_chunks
from models.interest_model import InterestModel
from models.ranking.final_ranker import ChoiceData
from models.seeding import seed_everything
from snapshots.reader import SnapshotReader
from tasks import align
from training.interest import train_interest_model

ALL, SEQUENCE = "all sources", "sequence_model"
K, BOOTSTRAP_SAMPLES = 10, 2000
MAX_USERS = 5000  # users of a test day, evenly spaced if there are more


def main() -> int:
    """Run the benchmark.

    Returns:
        0: done. 2: a night or a release is refused.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.source_ablation", description=__doc__)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument(
        "--nights", type=Path, nargs="+", help="folders of nights with a snapshot, each named YYYY-MM-DD"
    )
    given.add_argument("--set", choices=READERS, help="name of a published data set")
    parser.add_argument("--path", type=Path, help="with --set: folder of the release")
    parser.add_argument(
        "--params",
        type=Path,
        default=PROJECT_ROOT / "params.yaml",
        help="parameter file (default: params.yaml)",
    )
    parser.add_argument("--name", required=True, help="name of the platform or data set, for the result")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/sources-<name>.json")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="undercurrent-sources-") as folder:
            nights = prepare_nights(args, Path(folder))
            ndcg_by_night = [measure_night(night) for night in tqdm(nights, "nights", unit="night")]
    except InputError as error:
        print(f"source_ablation: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    publish_result(f"sources-{args.name}", summarise(ndcg_by_night), {}, args.keep)
    return 0


def prepare_nights(args: argparse.Namespace, folder: Path) -> list[Night]:
    """Return nights in new workspaces that hold the given snapshots.

    Raises:
        InputError: A night is not named by its day or has no snapshot, or the release is refused.
    """
    if args.set:
        if args.path is None:
            raise InputError("--set needs --path, the folder of the release")
        night = Night(TEST_DAY, folder, args.params)
        write_snapshot(READERS[args.set](args.path), night)
        return [night]
    nights = []
    for number, workspace in enumerate(args.nights):
        if not (workspace / "snapshot").is_dir():
            raise InputError(f"{workspace} has no snapshot; run the steps of the night up to `snapshot`")
        night = Night(parse_day(workspace.name), folder / str(number), args.params)
        night.workspace.mkdir()
        (night.workspace / "snapshot").symlink_to((workspace / "snapshot").resolve())
        nights.append(night)
    return nights


def measure_night(night: Night) -> dict[str, Floats]:
    """Return NDCG@10 of each test user, with all sources and without each: name of the source -> [B].

    Raises:
        InputError: The snapshot or a parameter is refused.
    """
    params = load_params(night.params_path)
    settings = params.train.model
    if not (isinstance(settings, InterestModelConfig) and settings.sources):
        raise InputError(f"{night.params_path}: train.model has no sources; name some, or take params.yaml")
    align.run(params.align, night)
    snapshot = SnapshotReader(night)
    seed_everything(params.train.seed)
    trained = train_interest_model(params.train, snapshot, params.align.width)
    scorer, model = trained.scorer, trained.scorer.model
    assert isinstance(model, InterestModel)
    targets = read_test_targets(scorer, snapshot)
    targets = targets.of_users(evenly_spaced(targets.users, MAX_USERS))
    ndcg_by_source = {}
    for row, name in enumerate([SEQUENCE, *model.config.sources, ALL]):
        model.final_ranker.fit([without_source(day, row) for day in trained.choices])
        ndcg_by_source[name] = rank_test_day(scorer, targets)
    return ndcg_by_source


def rank_test_day(scorer: Scorer, targets: Targets) -> Floats:
    """Return NDCG@10 of each user with a target, [B]."""
    chunks = ((users_B, score_BV) for users_B, score_BV, _ in score_in_chunks(scorer, targets.users))
    rank_P = rank_catalogue(chunks, targets, K).rank_P.numpy()
    position_P = torch.searchsorted(targets.users, targets.user_P).numpy()
    return ndcg(rank_P, position_P, len(targets.users), K)


def without_source(day: ChoiceData, row: int) -> ChoiceData:
    """Return the choices with a constant source. The ranker gives it no weight. No such row: unchanged."""
    source_SBC = day.source_SBC.clone()
    source_SBC[row : row + 1] = 0.0
    return replace(day, source_SBC=source_SBC)


def summarise(ndcg_by_night: Sequence[dict[str, Floats]]) -> dict:
    """Return the mean NDCG@10 with all sources, and what each source adds to it, with its 95 % interval."""
    ndcg_by_source = {
        name: np.concatenate([night[name] for night in ndcg_by_night]) for name in ndcg_by_night[0]
    }
    full = ndcg_by_source.pop(ALL)
    gains = {
        name: paired_bootstrap(full - without, BOOTSTRAP_SAMPLES, 1)
        for name, without in ndcg_by_source.items()
    }
    return {
        "user_nights": len(full),
        "ndcg@10": round(float(full.mean()), 4),
        "gains": {name: round_interval(gain) for name, gain in gains.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
