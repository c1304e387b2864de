"""Distil the trained model of a night into a small student.

The student is a model of its own in a workspace of its own. So evaluate, gate, promote, publish and the
served model take it as they take any challenger: `undercurrent run evaluate --workspace …`.
"""

from dataclasses import asdict
from typing import Any, get_args, get_type_hints

from core.config.model_half import TrainConfig
from core.config.models import InterestModelConfig
from core.errors import InputError
from core.hashing import hash_bundle, hash_folder
from core.paths import Night
from core.run_manifests import RunManifest, write_json
from core.step_cli import run_step
from models.bundle import save_bundle
from models.interest_model import InterestModel
from snapshots.reader import SnapshotReader
from snapshots.saved_models import read_model
from training.distillation import StudentConfig, train_student

LINKED = ("snapshot", "align")  # inputs of the model steps, which the student's workspace shares
STUDENT_ENCODERS = get_args(get_type_hints(InterestModelConfig)["encoder"])


def distil(params: TrainConfig, night: Night, student_night: Night, student: StudentConfig) -> dict[str, Any]:
    """Train a student, and write its bundle as the output of the step train in its own workspace.

    Args:
        params: Section `train` of params.yaml.
        night: A night after the step train. Its files are only read.
        student_night: The same day with the student's workspace.
        student: What the student differs in.

    Returns:
        The facts of its run manifest.

    Raises:
        InputError: A setting is out of range, the night has no trained model, or its model is a baseline.
        FloatingPointError: A loss or gradient is not finite.
    """
    _check(params, student)
    teacher_folder = night.require_output("train", "model.json").parent
    teacher = read_model(teacher_folder)
    if not isinstance(teacher, InterestModel):
        raise InputError(
            f"{teacher_folder}: the model is {teacher.config.model}, but only the model interest can be a"
            " teacher; set train.model.name to interest and run the step train again"
        )
    _link_inputs(night, student_night)
    facts: dict[str, Any] = {"student": asdict(student), "teacher_bundle": hash_bundle(teacher_folder)}

    def run(section: TrainConfig, student_night: Night) -> RunManifest:
        trained = train_student(section, SnapshotReader(student_night), teacher, student)
        out = student_night.fresh_folder("train")
        save_bundle(out, trained.scorer.model)
        write_json(out / "curve.json", trained.curve)
        facts["num_parameters"] = num_parameters(trained.scorer.model)
        facts["num_epochs"] = len(trained.curve)
        return RunManifest(digests=hash_folder(out), facts=facts)

    run_step("train", run, params, student_night)
    return facts


def num_parameters(model: Any) -> int:
    """Return the number of learned parameters of a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _check(params: TrainConfig, student: StudentConfig) -> None:
    if not isinstance(params.model, InterestModelConfig):
        raise InputError(
            f"params.yaml: train.model.name is {params.model.name}, but a student is a small model interest;"
            " give its parameters with --params"
        )
    if student.width < 1:
        raise InputError(f"--width is {student.width}; it must be above 0")
    if student.encoder not in STUDENT_ENCODERS:
        raise InputError(f"--encoder is {student.encoder!r}; choose from {', '.join(STUDENT_ENCODERS)}")
    if student.teacher_weight < 0:
        raise InputError(f"--teacher-weight is {student.teacher_weight}; it must not be negative")


def _link_inputs(night: Night, student_night: Night) -> None:
    """Link the inputs of the model steps into the student's workspace."""
    student_night.workspace.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        link = student_night.workspace / name
        if not link.exists():
            link.symlink_to((night.workspace / name).resolve())
