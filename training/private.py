"""Which models can be trained privately or federated, and what their (ε, δ) covers."""

from dataclasses import replace
from typing import Any

from core.config.model_half import TrainConfig
from core.config.models import InterestModelConfig, TransformerConfig
from core.errors import InputError
from core.hashing import hash_lines
from models import distributed
from models.data.sequences import Sequences
from models.training.private import privacy_spent
from snapshots.reader import SnapshotReader

# DP-SGD covers the weights that gradients change. These parts of the interest model are counted or fitted.
COUNTED_PARTS_OF_INTEREST_MODEL = (
    "vocabularies",
    "statistics of profile columns and item features",
    "item features of comments, and segment interest",
    "largest age of the token budget",
    "interaction counts and initial biases",
    "counted sources and the final ranker",
    "calibration of the ranking heads",
    "average users",
    "horizon of the targets",
    "choice of the videos that alignment reads",
    "embedding space of the champion",
)


def require_training_by_users(params: TrainConfig, snapshot: SnapshotReader) -> None:
    """Check that model, settings and data allow private or federated training, if it is asked for.

    Raises:
        InputError: They do not.
    """
    if not (params.privacy or params.federated):
        return
    key = "privacy" if params.privacy else "federated"
    if params.privacy and params.federated:
        raise InputError("params.yaml: train.privacy and train.federated are both set; set one to null")
    if not isinstance(params.model, TransformerConfig | InterestModelConfig):
        raise InputError(
            f"params.yaml: train.{key} does not allow train.model.name {params.model.name}, whose training is"
            " not a sum over users; write interest, sasrec, esasrec or bert4rec, or set it to null"
        )
    if params.privacy and params.batch_by == "events":
        raise InputError(
            "params.yaml: train.batch_by is events, but private training samples users; write users"
        )
    if distributed.get_world_size() > 1:
        raise InputError(f"params.yaml: train.{key} needs a single process; start it without torchrun")
    num_users = number_of_users(snapshot.sequences(snapshot.validation_folds[0]))
    if params.federated and params.federated.clients > num_users:
        raise InputError(
            f"params.yaml: train.federated.clients is {params.federated.clients}, but only {num_users} users"
            " have a sequence; write a smaller number"
        )


def with_seed_of_night(params: TrainConfig, snapshot: SnapshotReader) -> TrainConfig:
    """Return the settings with a seed of the night, if training is private.

    The privacy losses of several nights add up only if their noise is independent.
    """
    if not params.privacy:
        return params
    digest = hash_lines([str(params.seed), str(snapshot.night.day)])
    return replace(params, seed=int(digest[:8], 16))


def number_of_users(sequences: Sequences) -> int:
    """Return the number of users that have a sequence."""
    return int((sequences.lengths > 0).sum())


def privacy_record(params: TrainConfig, sequences: Sequences) -> dict[str, Any]:
    """Return what the bundle says about the privacy of its training. Empty if it was not private.

    Args:
        params: Section `train` of params.yaml.
        sequences: Sequences that the saved model is trained on.

    Returns:
        The fields of `models.training.private.privacy_spent`, and `not_covered`: the parts of the model that
        were counted or fitted without noise.
    """
    if not params.privacy:
        return {}
    num_users = number_of_users(sequences)
    is_interest = isinstance(params.model, InterestModelConfig)
    return {
        **privacy_spent(params.privacy, params.clip_norm, num_users, params.batch_size, params.epochs),
        "not_covered": list(COUNTED_PARTS_OF_INTEREST_MODEL) if is_interest else [],
    }
