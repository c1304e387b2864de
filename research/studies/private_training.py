"""What do private and federated training cost in quality, on one night?

The study trains the model of a parameter file centrally, privately with every noise multiplier, and federated
with every number of clients. It compares NDCG@10 on the test day. The night is a workspace after the step
align, or a public data set, which is written as the snapshot of a night. Then only baselines can be trained,
because there are no aligned projections. The last line is the JSON result.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.quality.one_recipe import READERS
from benchmarks.quality.snapshot_files import TEST_DAY, write_snapshot
from benchmarks.result import publish_result, round_interval
from core.config import load_params
from core.config.model_half import FederatedTrainingConfig, PrivateTrainingConfig, TrainConfig
from core.config.models import InterestModelConfig
from core.errors import REFUSED_INPUT, InputError
from core.paths import Night, parse_day
from models.evaluation.metrics import Floats, ndcg, paired_bootstrap
from models.evaluation.scoring import Scorer, rank_catalogue, score_in_chunks
from models.seeding import seed_everything
from research.studies import RESULTS
from snapshots.reader import SnapshotReader
from training.baseline import train_baseline
from training.interest import train_interest_model
from training.private import require_training_by_users

WIDTH, K, BOOTSTRAP_SAMPLES = 64, 10, 2000


def main() -> int:
    """Run the study.

    Returns:
        0: done. 2: an input is refused.
    """
    parser = argparse.ArgumentParser(prog="python -m research.studies.private_training", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--workspace", type=Path, help="workspace of a night, after align")
    source.add_argument("--set", choices=READERS, help="name of a public data set")
    parser.add_argument("--path", type=Path, help="folder of the release of --set")
    parser.add_argument("--params", type=Path, required=True, help="parameter file of the model")
    parser.add_argument("--private-params", type=Path, help="that of private training (default: --params)")
    parser.add_argument("--noise", type=float, nargs="*", default=(), help="noise multipliers")
    parser.add_argument("--delta", type=float, default=1e-5, help="δ (default: %(default)s)")
    parser.add_argument("--clients", type=int, nargs="*", default=(), help="numbers of clients")
    parser.add_argument("--name", default="private-training", help="name of the result")
    parser.add_argument("--keep", action="store_true", help="write research/results/<name>.json")
    args = parser.parse_args()
    try:
        with open_snapshot(args) as snapshot:
            figures = compare(variants(args), snapshot)
    except InputError as error:
        print(f"private_training: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    publish_result(args.name, figures, {}, args.keep, RESULTS)
    return 0


@contextmanager
def open_snapshot(args: argparse.Namespace) -> Iterator[SnapshotReader]:
    """Open the snapshot of the workspace, or that of the data set in a temporary folder."""
    if args.workspace:
        yield SnapshotReader(Night(parse_day("2000-01-01"), args.workspace))
        return
    if args.path is None:
        raise InputError("--path is missing; name the folder of the release")
    with tempfile.TemporaryDirectory(prefix="undercurrent-private-") as folder:
        night = Night(TEST_DAY, Path(folder), args.params)
        write_snapshot(READERS[args.set](args.path), night)
        yield SnapshotReader(night)


def variants(args: argparse.Namespace) -> dict[str, TrainConfig]:
    """Return name -> section `train` of every training. The first one is central."""
    central = load_params(args.params).train
    private = load_params(args.private_params or args.params).train
    return {
        "central": central,
        **{
            f"noise {noise:g}": replace(private, privacy=PrivateTrainingConfig(noise, args.delta))
            for noise in args.noise
        },
        **{
            f"{clients} clients": replace(central, federated=FederatedTrainingConfig(clients, 1))
            for clients in args.clients
        },
    }


def compare(settings: dict[str, TrainConfig], snapshot: SnapshotReader) -> dict[str, dict[str, Any]]:
    """Return name -> NDCG@10 on the test day, its difference from the first, epochs, CPU seconds, and ε."""
    figures: dict[str, dict[str, Any]] = {}
    reference: Floats | None = None
    for name, params in settings.items():
        started = time.process_time()
        scorer, epochs = train(params, snapshot)
        seconds = time.process_time() - started
        ndcg_B = ndcg_by_user(scorer, snapshot)
        reference = ndcg_B if reference is None else reference
        difference = paired_bootstrap(ndcg_B - reference, BOOTSTRAP_SAMPLES, 1)
        record = scorer.model.config.privacy
        figures[name] = {
            "ndcg@10": round(float(ndcg_B.mean()), 4),
            "difference": round_interval(difference),
            "epochs": epochs,
            "cpu_seconds": round(seconds, 1),
            **{key: record[key] for key in ("epsilon", "delta", "sampling_rate", "steps") if record},
        }
        print(f"{name}: {figures[name]}", file=sys.stderr)
    return figures


def train(params: TrainConfig, snapshot: SnapshotReader) -> tuple[Scorer, int]:
    """Train the model of a night. Returns it, and the number of rows of its curve."""
    seed_everything(params.seed)
    require_training_by_users(params, snapshot)
    is_interest = isinstance(params.model, InterestModelConfig)
    trained = (train_interest_model if is_interest else train_baseline)(params, snapshot, WIDTH)
    return trained.scorer, len(trained.curve)


def ndcg_by_user(scorer: Scorer, snapshot: SnapshotReader) -> Floats:
    """Return the NDCG@10 of each user with a target on the test day, ranked as in the evaluation."""
    fold = snapshot.fold("test", scorer.model.config)
    chunks = ((users_B, score_BV) for users_B, score_BV, _ in score_in_chunks(scorer, fold.targets.users))
    rank_P = rank_catalogue(chunks, fold.targets, K).rank_P
    position_P, _ = fold.targets.for_users(fold.targets.users)
    return ndcg(rank_P.numpy(), position_P.numpy(), len(fold.targets.users), K)


if __name__ == "__main__":
    sys.exit(main())
