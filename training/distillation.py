"""Training of a student: a small model that learns the order of a trained model, on the same night's data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from core.config.model_half import TrainConfig
from core.config.models import InterestModelConfig
from core.time_split import TEST_FOLD
from models.devices import default_device, to_device
from models.evaluation.scoring import Scorer
from models.interest_model import InterestModel
from models.seeding import seed_everything
from models.training.distillation import TeacherRankings, distillation_loss, rank_by_teacher
from models.training.objective import Objective
from snapshots.reader import SnapshotReader
from training.interest import (
    InterestTask,
    TrainedModel,
    bounded_horizon,
    choose_device,
    fit_interest_model,
)
from training.model_config import build_model_config
from training.setup import build_training_setup
from training.validation import Validation


@dataclass(frozen=True)
class StudentConfig:
    """What a student differs in from the model of params.yaml.

    Attributes:
        width: D of the student.
        encoder: Its sequence encoder, with one layer.
        teacher_weight: Weight of the distillation loss. 0: the student learns from the true targets only.
    """

    width: int
    encoder: str
    teacher_weight: float


class StudentTask(InterestTask):
    """Training of a student: the losses of the interest model, and the distillation loss."""

    name = "distil"

    def __init__(
        self,
        scorer: Scorer,
        validation: Validation | None,
        params: TrainConfig,
        objective: Objective,
        rankings: TeacherRankings,
        weight: float,
    ) -> None:
        super().__init__(scorer, validation, params, objective)
        self.rankings, self.weight = to_device(rankings, self.device), weight

    def losses(self, users_B: Tensor) -> dict[str, Tensor]:
        """Return the losses of a batch."""
        losses = super().losses(users_B)
        distillation = distillation_loss(self.scorer, self.rankings, users_B.to(self.device))
        total = losses["total"] + self.weight * distillation
        return {**losses, "distillation": distillation, "total": total}


def student_model(model: InterestModelConfig, student: StudentConfig) -> InterestModelConfig:
    """Return the section `train.model` of a student.

    It has no sources and no re-ranking, because it learns the order that they give. All modalities have the
    same weight, so a video is one vector of width D + 1.
    """
    return replace(
        model,
        fusion="uniform",
        normalisation="fixed",
        token_budget=0,
        encoder=student.encoder,  # type: ignore[arg-type]  # `undercurrent.distil` checks it
        layers=1,
        heads=1,
        sources=(),
        rerank=replace(model.rerank, candidates=0),
        objective=replace(model.objective, anchor_weight=0.0),
    )


def train_student(
    params: TrainConfig, snapshot: SnapshotReader, teacher: InterestModel, student: StudentConfig
) -> TrainedModel:
    """Train a student on all days before the test.

    It is trained for `train.epochs` epochs. No validation day can select one of them, because the teacher was
    trained on all of these days. Its ranking heads have the teacher's calibration for the same reason.

    Args:
        params: Section `train` of params.yaml.
        snapshot: The night's snapshot.
        teacher: The trained model of the night.
        student: What the student differs in.

    Raises:
        InputError: A file of the snapshot is damaged, or see `choose_device`.
        FloatingPointError: A loss or gradient is not finite.
    """
    assert isinstance(params.model, InterestModelConfig)
    seed_everything(params.seed)
    params = replace(params, model=(model := student_model(params.model, student)))
    config = build_model_config(model, snapshot, TEST_FOLD, student.width)
    folds = [snapshot.fold(name, config) for name in snapshot.validation_folds]
    objective = replace(model.objective, horizon=bounded_horizon(model.objective.horizon, folds))
    setup = build_training_setup(objective, snapshot, config, TEST_FOLD)
    build_task: Callable[..., InterestTask] = InterestTask
    if student.teacher_weight:
        rankings = rank_training_users(teacher, snapshot, params)
        build_task = partial(StudentTask, rankings=rankings, weight=student.teacher_weight)
    curve = fit_interest_model(
        setup.scorer, None, params, setup.objective, params.epochs, build_task=build_task
    )
    for name in ("scale_H", "shift_H"):
        getattr(setup.model.ranking_heads, name).copy_(getattr(teacher.ranking_heads, name))
    return TrainedModel(setup.scorer, [], curve)


def rank_training_users(
    teacher: InterestModel, snapshot: SnapshotReader, params: TrainConfig
) -> TeacherRankings:
    """Return the teacher's rankings for all users that have a sequence, on the day of the night."""
    fold, device = snapshot.fold(TEST_FOLD, teacher.config), choose_device(params.device)
    with default_device(device):
        item_table, users = to_device(fold.item_table, device), to_device(fold.users, device)
        scorer = Scorer(teacher.to(device), item_table, users, fold.day)
        has_sequence = users.sequences.lengths.nonzero().squeeze(1)
        rankings = rank_by_teacher(scorer, has_sequence, params.seed)
    teacher.to("cpu")
    return rankings
