"""Train this night's challenger: fusion, sequence encoder, static gate, retrieval and ranking.

The projections start from those of `align`. A first model is trained on the days before validation. The
choices of the validation days select its epoch, and the final ranker is fitted on them. Then the model is
trained again on all days before the test day. The step saves a model and does not judge it.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from core import step_cli
from core.config.model_half import TrainConfig
from core.config.models import AnyModelConfig, InterestModelConfig, M3CSRConfig, TransformerConfig
from core.errors import InputError
from core.hashing import hash_folder
from core.paths import Night
from core.run_manifests import RunManifest, write_json
from models import distributed
from models.bundle import save_bundle
from models.seeding import seed_everything
from registry import tracking
from registry.system_metrics import sample_system_metrics
from snapshots.reader import SnapshotReader
from training.baseline import train_baseline
from training.interest import best_epoch, train_interest_model
from training.private import require_training_by_users, with_seed_of_night
from training.setup import read_align_metadata


def run(params: TrainConfig, night: Night) -> RunManifest:
    """Write the bundle and `curve.json`, and log the run to MLflow.

    Several processes share each batch if torchrun starts them:
    torchrun --nproc-per-node 4 -m tasks.train --night YYYY-MM-DD

    Raises:
        InputError: See `train_and_save`.
        FloatingPointError: A loss or gradient is not finite.
    """
    with distributed.process_group():
        with sample_system_metrics() as samples:
            curve, facts = train_and_save(params, night)
        if distributed.get_rank() == 0:
            dataset = tracking.snapshot_dataset(night)
            facts["mlflow_run"] = tracking.log_run(
                str(night.day), asdict(params), curve, facts, dataset, samples
            )
    return RunManifest(digests=hash_folder(night.folder("train")), facts=facts)


def train_and_save(params: TrainConfig, night: Night) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Write the bundle and `curve.json`.

    Returns:
        The curve, and the facts for the run manifest.

    Raises:
        InputError: The width is not divisible by the number of attention heads, or an input is missing or
            damaged.
        FloatingPointError: A loss or gradient is not finite.
    """
    snapshot, out = SnapshotReader(night), night.fresh_folder("train", clear=distributed.get_rank() == 0)
    params = with_seed_of_night(params, snapshot)
    seed_everything(params.seed)
    distributed.barrier()
    width = read_align_metadata(snapshot)["width"]
    _require_divisible_width(params.model, width)
    require_training_by_users(params, snapshot)
    train = train_interest_model if isinstance(params.model, InterestModelConfig) else train_baseline
    trained = train(params, snapshot, width)
    scorer, curve = trained.scorer, trained.curve
    if distributed.get_rank() == 0:
        save_bundle(out, scorer.model)
        write_json(out / "curve.json", curve)
    distributed.barrier()
    return curve, {
        "num_train_users": int((scorer.user_data.sequences.lengths > 0).sum()),
        "num_validation_users": sum(len(fold.targets.users) for fold in trained.validation),
        "num_parameters": sum(p.numel() for p in scorer.model.parameters() if p.requires_grad),
        "num_epochs": len(curve),
        **{f"best_{name}": value for name, value in best_epoch(curve).items()},
        **_segment_facts(trained.segment_curve),
        **_privacy_facts(scorer.model.config.privacy),
    }


def _segment_facts(curve: list[dict[str, float]]) -> dict[str, float]:
    """Return the facts of the training of segment interest. Empty if it was not trained."""
    return {f"best_segment_{name}": value for name, value in best_epoch(curve).items()} if curve else {}


def _privacy_facts(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the facts of private training. Empty if it was not private."""
    return {name: record[name] for name in ("epsilon", "delta")} if record else {}


def _require_divisible_width(model: AnyModelConfig, width: int) -> None:
    """Check that the heads divide the width, if the encoder splits the width among attention heads.

    Raises:
        InputError: They do not.
    """
    if not isinstance(model, InterestModelConfig | TransformerConfig | M3CSRConfig):
        return
    has_heads = not isinstance(model, InterestModelConfig) or model.encoder in ("transformer", "ligr", "hstu")
    if has_heads and width % model.heads:
        raise InputError(
            f"params.yaml: train.model.heads is {model.heads}, but must divide align.width, which is {width}"
        )


if __name__ == "__main__":
    sys.exit(step_cli.main("train", run, __doc__))
