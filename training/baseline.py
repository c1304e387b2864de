"""Training of a baseline as the challenger of a night, with the data of the interest model."""

from collections.abc import Callable
from dataclasses import replace

from core.config.model_half import TrainConfig
from core.errors import InputError
from core.time_split import TEST_FOLD
from models import distributed
from models.baselines import BASELINES, Baseline
from models.baselines.din import DIN
from models.data.folds import Fold
from models.evaluation.scoring import Scorer
from models.seeding import seed_everything
from models.training.baselines import fit_baseline, positive_auc
from snapshots.reader import SnapshotReader
from training.interest import TrainedModel, best_epoch
from training.model_config import build_model_config
from training.private import privacy_record
from training.validation import NdcgValidation


def train_baseline(params: TrainConfig, snapshot: SnapshotReader, width: int) -> TrainedModel:
    """Train the baseline that `train.model.name` selects.

    NDCG@10 on the validation days selects the epoch. For DIN, which ranks only the shown videos, AUC does.
    Then the baseline is trained again on all days before the test, for as many epochs. Private training
    selects nothing: see `_train_privately`.

    Args:
        params: Section `train` of params.yaml.
        snapshot: Of the night.
        width: D, width of the embeddings.

    Raises:
        InputError: torchrun started several processes, or the parameters ask for a GPU or for bf16. A
            baseline is trained by one process on the CPU in fp32.
        FloatingPointError: A loss or gradient is not finite.
    """
    _require_plain_training(params)
    if params.privacy:
        return _train_privately(params, snapshot, width)
    first_fold = snapshot.validation_folds[0]
    config = build_model_config(params.model, snapshot, first_fold, width)
    validation = [snapshot.fold(fold, config) for fold in snapshot.validation_folds]
    model = BASELINES[config.model](config)
    is_din = isinstance(model, DIN)

    def validate() -> dict[str, float]:
        if isinstance(model, DIN):
            interactions = snapshot.interactions(first_fold)
            scorer = Scorer(model, validation[0].item_table, validation[0].users)
            return positive_auc(scorer, interactions.user_N, interactions.video_N, interactions.positive_N)
        ndcg = NdcgValidation(validation).measure(model)
        return {} if ndcg is None else {NdcgValidation.metric: ndcg}

    metric = "auc" if is_din else NdcgValidation.metric
    curve = _fit(model, validation[0], params, validate, metric)
    seed_everything(params.seed)
    final = BASELINES[config.model](build_model_config(params.model, snapshot, TEST_FOLD, width))
    inputs = snapshot.fold(TEST_FOLD, final.config)
    epochs = max(1, int(best_epoch(curve)["epoch"]))
    _fit(final, inputs, replace(params, epochs=epochs), dict, metric)
    final.drop_user_embeddings()
    return TrainedModel(Scorer(final, inputs.item_table, inputs.users, inputs.day), validation, curve)


def _train_privately(params: TrainConfig, snapshot: SnapshotReader, width: int) -> TrainedModel:
    """Train a baseline by DP-SGD on all days before the test, for `epochs` epochs.

    Nothing else of the model depends on users. It knows every video of the catalogue, counts no positives,
    and no validation selects its epoch.
    """
    config = build_model_config(params.model, snapshot, TEST_FOLD, width, knows_all_videos=True)
    inputs = snapshot.fold(TEST_FOLD, config)
    record = privacy_record(params, inputs.users.sequences)
    model = BASELINES[config.model](replace(config, privacy=record))
    curve = _fit(model, inputs, params, dict, NdcgValidation.metric)
    return TrainedModel(Scorer(model, inputs.item_table, inputs.users, inputs.day), [], curve)


def _fit(
    model: Baseline,
    fold: Fold,
    params: TrainConfig,
    validate: Callable[[], dict[str, float]],
    metric: str,
) -> list[dict[str, float]]:
    """Train a baseline on what a fold knows, and return the curve."""
    return fit_baseline(model, fold.users.sequences, fold.item_table, params, validate, metric)


def _require_plain_training(params: TrainConfig) -> None:
    name = params.model.name
    if distributed.get_world_size() > 1:
        raise InputError(f"train.model.name: {name} is trained by one process; start it without torchrun")
    if params.device == "cuda":
        raise InputError(
            f"params.yaml: train.device is cuda, but {name} is trained on the CPU; write auto or cpu"
        )
    if params.precision == "bf16":
        raise InputError(
            f"params.yaml: train.precision is bf16, but {name} is trained in fp32; write auto or fp32"
        )
