"""Training of the interest model: device, precision, optimizer, validation, checkpoint."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import Tensor

from core.config.model_half import TrainConfig
from core.config.models import InterestModelConfig
from core.errors import InputError
from core.hashing import hash_file, hash_folder
from core.paths import PROJECT_ROOT
from core.time_split import TEST_FOLD
from models import distributed
from models.data.folds import Fold
from models.devices import default_device, efficient_attention, supports_bf16, to_device
from models.evaluation.scoring import Scorer, average_users
from models.interest_model import InterestModel
from models.ranking.final_ranker import ChoiceData
from models.seeding import seed_everything
from models.sources import count_sources
from models.training.checkpoint import Checkpoint
from models.training.choices import add_sequence_scores
from models.training.objective import Objective, compute_losses
from models.training.trainer import Callback, LearningRateSchedule, SeedSteps
from models.training.user_task import UserTask
from models.training.user_trainers import user_trainer
from snapshots.reader import SnapshotReader
from training.model_config import build_model_config
from training.private import privacy_record
from training.segments import add_segment_scores, refit_segments, select_segment_epoch
from training.setup import build_training_setup, calibrate_ranking_heads, projections_path
from training.validation import ChoiceValidation, NdcgValidation, Validation, count_validation_choices

# Metrics that select an epoch. The AUC is that of DIN (training/baseline.py).
SELECTION_METRICS = (ChoiceValidation.metric, NdcgValidation.metric, "auc")


@dataclass(frozen=True)
class TrainedModel:
    """A model that is ready to be saved, and how it was selected.

    Attributes:
        scorer: The model, with what is known before the test day.
        validation: The folds that selected the epoch.
        curve: The curve of the selection.
        segment_curve: That of segment interest. Empty without its source.
        choices: The choices of the validation days that the final ranker was fitted on. Empty without
            sources.
    """

    scorer: Scorer
    validation: Sequence[Fold]
    curve: list[dict[str, float]]
    segment_curve: list[dict[str, float]] = field(default_factory=list)
    choices: Sequence[ChoiceData] = ()


class InterestTask(UserTask):
    """Training of the interest model on batches of users."""

    name = "train"

    def __init__(
        self, scorer: Scorer, validation: Validation | None, params: TrainConfig, objective: Objective
    ) -> None:
        assert isinstance(scorer.model, InterestModel)
        self.model: InterestModel = scorer.model
        self.scorer, self.validation = scorer, validation
        self.selection_metric = validation.metric if validation else ""
        self.settings = self.params = params
        self.objective = objective
        self.device = next(self.model.parameters()).device
        lengths = self.model.read_lengths(scorer.user_data.sequences).cpu()
        self.users = lengths.nonzero().squeeze(1)
        self.lengths = lengths[self.users]

    def losses(self, users_B: Tensor) -> dict[str, Tensor]:
        """Return the losses of this process' share of a batch."""
        local_users = distributed.shard(users_B).to(self.device)
        bf16 = uses_bf16(self.params, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            return compute_losses(
                self.model, self.scorer.item_table, self.scorer.user_data, local_users, self.objective
            )

    def validate(self) -> dict[str, float]:
        """Return the metric on the validation days. Empty without targets."""
        value = self.validation.measure(self.model) if self.validation else None
        return {} if value is None else {self.selection_metric: distributed.broadcast(value)}

    def describe_batch(self, users_B: Tensor) -> str:
        """Return the first user rows of a batch, for error messages."""
        return f" (batch of user rows {users_B[:3].tolist()}…)"


def fit_interest_model(
    scorer: Scorer,
    validation: Validation | None,
    params: TrainConfig,
    objective: Objective,
    epochs: int,
    callbacks: Sequence[Callback] = (),
    build_task: Callable[..., InterestTask] = InterestTask,
) -> list[dict[str, float]]:
    """Train until validation stops improving, and keep the weights of the best epoch.

    The model is on the CPU afterwards. Without validation targets, all epochs are trained and the last one is
    kept.

    Args:
        scorer: Holds the model, which is trained in place.
        validation: It selects the epoch. None: the last one is kept.
        params: Section `train` of params.yaml. The learning rate follows its number of epochs.
        objective: Weights and settings of the losses.
        epochs: Most epochs to train.
        callbacks: In addition to the seeds and the learning-rate schedule.
        build_task: Gets the arguments of `InterestTask`.

    Returns:
        The curve, as in `Trainer.fit`, with the metric of the validation.

    Raises:
        FloatingPointError: A loss or gradient is not finite. The message names epoch, step and batch.
        InputError: See `choose_device`.
    """
    assert isinstance(params.model, InterestModelConfig)
    device = choose_device(params.device)
    model = scorer.model.to(device)
    assert isinstance(model, InterestModel)
    if params.privacy:  # no user has a gradient for the temperature; the noise alone would move it
        model.item_fusion.projections.logit_scale.requires_grad_(False)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay, fused=True
    )
    with default_device(device), efficient_attention(device):
        device_scorer = Scorer(
            model, to_device(scorer.item_table, device), to_device(scorer.user_data, device)
        )
        device_validation = validation.to(device) if validation else None
        task = build_task(device_scorer, device_validation, params, to_device(objective, device))
        schedule = LearningRateSchedule(params.learning_rate, params.model.warmup_epochs, params.epochs)
        callbacks = (SeedSteps(params.seed), schedule, *callbacks)
        curve = user_trainer(task, optimizer, params, epochs, callbacks).fit()
    model.to("cpu")
    return curve


def choose_device(name: str) -> torch.device:
    """Return the device to train on.

    Args:
        name: `cpu`, `cuda`, or `auto` for a GPU if there is one.

    Each of several processes gets its own GPU.

    Raises:
        InputError: `cuda` without a GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("params.yaml: train.device is cuda, but torch sees no GPU; set it to auto or cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def uses_bf16(params: TrainConfig, device: torch.device) -> bool:
    """Return whether matrix products are computed in bf16.

    With `auto` they are, on a GPU that supports it. On a CPU they are not, because only some CPUs support it.
    """
    if params.precision == "auto":
        return device.type == "cuda" and supports_bf16(device)
    return params.precision == "bf16"


def train_interest_model(params: TrainConfig, snapshot: SnapshotReader, width: int) -> TrainedModel:
    """Train the interest model. A killed run resumes from its checkpoints.

    A first model is trained before the validation days. They select its epoch, calibrate its ranking heads
    and fit the final ranker. Then the model is trained again on all days before the test, for as many epochs.

    Args:
        params: Section `train` of params.yaml.
        snapshot: The night's snapshot.
        width: D, width of the shared space.

    Raises:
        InputError: A file of the snapshot is damaged, or see `choose_device` and `select_segment_epoch`.
        FloatingPointError: A loss or gradient is not finite.
    """
    model = params.model
    assert isinstance(model, InterestModelConfig)
    first_fold = snapshot.validation_folds[0]
    config = build_model_config(model, snapshot, first_fold, width)
    folds = [snapshot.fold(name, config) for name in snapshot.validation_folds]
    objective = replace(model.objective, horizon=bounded_horizon(model.objective.horizon, folds))
    selection = build_training_setup(objective, snapshot, config, first_fold)
    counted = count_validation_choices(snapshot, config, params.seed)
    validation = _validation(params, folds, counted)
    checkpoints = _checkpoints(params, snapshot)
    segment_curve = select_segment_epoch(selection.model, snapshot, folds, params.seed)
    curve = fit_interest_model(
        selection.scorer, validation, params, selection.objective, params.epochs, checkpoints[:1]
    )
    calibrate_ranking_heads(
        selection.scorer, snapshot.interactions(first_fold), snapshot.request_contexts(first_fold, config)
    )
    choices: Sequence[ChoiceData] = ()
    if counted:
        choices = add_sequence_scores(selection.model, folds, counted)
        choices = add_segment_scores(selection.model, folds, choices)
        selection.model.final_ranker.fit(choices)

    seed_everything(params.seed)
    final_config = build_model_config(model, snapshot, TEST_FOLD, width)
    record = privacy_record(params, snapshot.sequences(TEST_FOLD))
    final_config = replace(final_config, privacy=record)
    final = build_training_setup(objective, snapshot, final_config, TEST_FOLD)
    num_epochs = int(best_epoch(curve)["epoch"])
    fit_interest_model(final.scorer, None, params, final.objective, num_epochs, checkpoints[1:])
    final.model.copy_calibration(selection.model)
    final.model.set_average_users(average_users(final.scorer))
    count_sources(final.model.sources, final.scorer.user_data.sequences, final.scorer.item_table)
    if segment_curve:
        refit_segments(final.scorer, params.seed, int(best_epoch(segment_curve)["epoch"]))
    for checkpoint in checkpoints:
        checkpoint.remove()
    return TrainedModel(final.scorer, folds, curve, segment_curve, choices)


def _validation(
    params: TrainConfig, folds: Sequence[Fold], counted: Sequence[ChoiceData]
) -> Validation | None:
    """Return what selects the epoch. Private training selects none, because a selection reads users."""
    if params.privacy:
        return None
    return ChoiceValidation.from_counted(folds, counted) if counted else NdcgValidation(folds)


def bounded_horizon(horizon: int, folds: Sequence[Fold]) -> int:
    """Return the horizon of training, at most the largest number of targets that a user has in these folds.

    Training then asks what the evaluation asks. If only the next item of each user is predicted, it is 1.

    Args:
        horizon: `train.model.objective.horizon`. It is kept if there are no targets.
        folds: The validation folds.
    """
    most = max((fold.targets.most_per_user for fold in folds), default=0)
    return min(horizon, most) if most else horizon


def _checkpoints(params: TrainConfig, snapshot: SnapshotReader) -> list[Checkpoint]:
    """Return the checkpoints of the selection and of the refit.

    The device is part of the identity. With `auto`, a resumed run may find another one. Federated training
    has none, because they would have to hold the state of every client.
    """
    if params.federated:
        return []
    device = choose_device(params.device).type
    snapshot_digests = hash_folder(snapshot.night.workspace / "snapshot")
    identity = json.dumps(
        [asdict(params), device, snapshot_digests, hash_file(projections_path(snapshot)), code_digests()],
        sort_keys=True,
    )
    workspace = snapshot.night.workspace
    return [Checkpoint(workspace / f"train.{phase}.checkpoint", identity) for phase in ("selection", "refit")]


def code_digests() -> list[str]:
    """Return digests of the code that training runs. The commit alone would miss uncommitted changes.

    The folders are those that tasks/train.py can import.
    """
    folders = ("core", "lake", "models", "snapshots", "tasks", "training")
    return [hash_file(path) for folder in folders for path in sorted((PROJECT_ROOT / folder).rglob("*.py"))]


def best_epoch(curve: list[dict[str, float]]) -> dict[str, float]:
    """Return the row of the curve whose weights were kept.

    Without a selection metric the last epoch was kept.
    """
    metric = next((name for name in SELECTION_METRICS if name in curve[0]), "epoch")
    return max(curve, key=lambda row: row[metric])
