"""Can an attacker find out who was in the training data? The loss-threshold attack (Yeom et al. 2018,
arXiv 1709.01604), with and without private training.

The study divides the users of a night's snapshot at random. It trains SASRec on one half, the members. Then
it computes the loss of every user, and ranks users by it, lowest first. The AUC of this
ranking is .5 if the losses say nothing. Every noise multiplier trains a model; 0 is plain training. Epochs,
batch size, learning rate and bound of the gradient are those of the parameter file. The last line is the JSON
result.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.result import publish_result
from core.config import load_params
from core.config.model_half import PrivateTrainingConfig, TrainConfig
from core.config.models import TransformerConfig
from core.errors import REFUSED_INPUT, InputError
from core.paths import Night, parse_day
from core.time_split import TEST_FOLD
from models.baselines import BASELINES, Baseline
from models.data.folds import Fold
from models.data.items import ItemTable
from models.data.sequences import Sequences
from models.evaluation.metrics import auc
from models.evaluation.scoring import Scorer, mean_ndcg
from models.seeding import seed_everything
from models.training.baselines import BaselineTask, BaselineTrainingSettings, fit_baseline
from models.training.private import privacy_spent
from research.studies import RESULTS
from snapshots.reader import SnapshotReader
from training.model_config import build_model_config

CAUSAL_MODELS = ("sasrec", "esasrec")  # the loss of BERT4Rec depends on drawn masks
WIDTH = 64
K = 10


@dataclass(frozen=True)
class Attack:
    """The attack on one model.

    Attributes:
        auc: Probability that a member has a lower loss than another user.
        chance_sd: Standard deviation of the AUC if the losses say nothing.
        member_loss: Mean loss of the members.
        other_loss: Mean loss of the other users.
    """

    auc: float
    chance_sd: float
    member_loss: float
    other_loss: float


def main() -> int:
    """Run the study.

    Returns:
        0: done. 2: an input is refused.
    """
    parser = argparse.ArgumentParser(prog="python -m research.studies.membership", description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True, help="workspace of a night, after snapshot")
    parser.add_argument("--params", type=Path, required=True, help="parameter file that trains SASRec")
    parser.add_argument(
        "--noise", type=float, nargs="+", default=[0.0, 0.5, 1.0], help="noise multipliers; 0: not private"
    )
    parser.add_argument("--delta", type=float, default=1e-4, help="δ (default: %(default)s)")
    parser.add_argument("--name", default="membership", help="name of the result (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write research/results/<name>.json")
    args = parser.parse_args()
    try:
        params = load_params(args.params).train
        if params.model.name not in CAUSAL_MODELS:
            raise InputError(
                f"{args.params}: train.model.name is {params.model.name}; write {' or '.join(CAUSAL_MODELS)}"
            )
        snapshot = SnapshotReader(Night(parse_day("2000-01-01"), args.workspace))
        figures = measure(params, snapshot, args.noise, args.delta)
    except InputError as error:
        print(f"membership: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    publish_result(args.name, figures, {}, args.keep, RESULTS)
    return 0


def measure(
    params: TrainConfig, snapshot: SnapshotReader, noise: Sequence[float], delta: float
) -> dict[str, dict[str, float]]:
    """Return noise multiplier -> figures of the attack, NDCG@10 of the model on the test day, and ε.

    Args:
        params: Section `train` of the parameter file.
        snapshot: Of the night. Everything before its test day is known.
        noise: Noise multipliers. 0: not private.
        delta: δ of private training.
    """
    assert isinstance(params.model, TransformerConfig)
    config = build_model_config(params.model, snapshot, TEST_FOLD, WIDTH, knows_all_videos=True)
    fold = snapshot.fold(TEST_FOLD, config)
    is_member_U = random_half(fold.users.sequences, params.seed)
    figures = {}
    for multiplier in noise:
        privacy = PrivateTrainingConfig(multiplier, delta) if multiplier else None
        seed_everything(params.seed)
        model = BASELINES[config.model](config)
        settings = replace(params, privacy=privacy)
        fit_on_members(model, fold.users.sequences, fold.item_table, settings, is_member_U)
        attack = attack_by_loss(model, fold.users.sequences, fold.item_table.id_row_V, settings, is_member_U)
        figures[f"noise {multiplier:g}"] = {
            **{name: round(value, 4) for name, value in vars(attack).items()},
            "ndcg@10": round(_ndcg(model, fold), 4),
            **_epsilon(settings, int(is_member_U.sum())),
        }
        print(f"noise {multiplier:g}: {figures[f'noise {multiplier:g}']}", file=sys.stderr)
    return figures


def _ndcg(model: Baseline, fold: Fold) -> float:
    model.prepare_scoring()
    return mean_ndcg(Scorer(model, fold.item_table, fold.users, fold.day), fold.targets, K)


def _epsilon(params: TrainConfig, num_users: int) -> Mapping[str, Any]:
    if not params.privacy:
        return {}
    record = privacy_spent(params.privacy, params.clip_norm, num_users, params.batch_size, params.epochs)
    return {name: record[name] for name in ("epsilon", "delta", "sampling_rate", "steps")}


def random_half(sequences: Sequences, seed: int) -> Tensor:
    """Return bool [U]: a random half of the users that have a sequence."""
    users = sequences.lengths.nonzero().squeeze(1)
    order = torch.randperm(len(users), generator=torch.Generator().manual_seed(seed))
    is_member_U = torch.zeros(len(sequences.lengths), dtype=torch.bool)
    is_member_U[users[order[: len(users) // 2]]] = True
    return is_member_U


def members_only(sequences: Sequences, is_member_U: Tensor) -> Sequences:
    """Return the same users, with empty sequences for those that are not members."""
    return sequences.keep(is_member_U.repeat_interleave(sequences.lengths))


def fit_on_members(
    model: Baseline,
    sequences: Sequences,
    item_table: ItemTable,
    settings: BaselineTrainingSettings,
    is_member_U: Tensor,
) -> list[dict[str, float]]:
    """Train a baseline on the members alone, for `epochs` epochs, and return the curve."""
    return fit_baseline(model, members_only(sequences, is_member_U), item_table, settings, dict, "")


@torch.no_grad()
def attack_by_loss(
    model: Baseline,
    sequences: Sequences,
    id_row_V: Tensor,
    settings: BaselineTrainingSettings,
    is_member_U: Tensor,
) -> Attack:
    """Rank all users by their loss, and return how well that finds the members.

    Args:
        model: Trained on the members. It is set to evaluation mode.
        sequences: Of all users.
        id_row_V: ID rows of the catalogue.
        settings: Of the training.
        is_member_U: Bool, the users that the model was trained on.
    """
    task = BaselineTask(model, sequences, id_row_V, settings, dict, "")
    model.eval()
    loss_B = torch.cat([task.losses(user_1)["total"].view(1) for user_1 in task.users.split(1)])
    member_B = is_member_U[task.users]
    value = auc(-loss_B.double().numpy(), member_B.numpy())
    if value is None:
        raise InputError("the snapshot has fewer than two users with a sequence; run a night with more users")
    members, others = int(member_B.sum()), int((~member_B).sum())
    return Attack(
        value,
        ((members + others + 1) / (12 * members * others)) ** 0.5,
        float(loss_B[member_B].mean()),
        float(loss_B[~member_B].mean()),
    )


if __name__ == "__main__":
    sys.exit(main())
