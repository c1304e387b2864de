"""Distil the trained model of a night into a small student.

The student is a model of its own in a workspace of its own. So evaluate, gate, promote, publish and the
served model take it as they take any challenger: `undercurrent run evaluate --workspace …`.
"""

import shutil
from dataclasses import asdict
from typing import Any, get_args, get_type_hints

from core.config.model_half import TrainConfig
from core.config.models import InterestModelConfig
from core.errors import InputError
from core.hashing import hash_bundle, hash_folder
from core.paths import Night
from core.run_manifests import RunManifest, write_json
from core.step_cli import run_step
from core.step_graph import LAKE_HALF
from models.bundle import save_bundle
from models.interest_model import InterestModel
from snapshots.reader import SnapshotReader
from snapshots.saved_models import read_model
from training.distillation import StudentConfig, train_student

LINKED = ("snapshot", "align")  # inputs of the model steps, which the student's workspace shares
COPIED_MANIFESTS = (*LAKE_HALF, *LINKED)  # the gate reads the outcome of the checks
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
        InputError: A setting is out of range or does not fit the teacher, the night has no trained model, its
            model is a baseline, or the student's workspace is one of another night.
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
    _require_length_of_teacher(params, teacher)
    link_inputs(night, student_night)
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
    for key in ("privacy", "federated"):
        if getattr(params, key):
            raise InputError(
                f"params.yaml: train.{key} is set, but a student learns from a teacher that read all users;"
                " set it to null in a parameter file for the student, and give it with --params"
            )
    if student.width < 1:
        raise InputError(f"--width is {student.width}; it must be above 0")
    if student.encoder not in STUDENT_ENCODERS:
        raise InputError(f"--encoder is {student.encoder!r}; choose from {', '.join(STUDENT_ENCODERS)}")
    if student.teacher_weight < 0:
        raise InputError(f"--teacher-weight is {student.teacher_weight}; it must not be negative")


def _require_length_of_teacher(params: TrainConfig, teacher: InterestModel) -> None:
    """Check that the student reads as much of a sequence as the teacher. They rank the same states."""
    length = params.model.max_length if isinstance(params.model, InterestModelConfig) else 0
    if length != teacher.config.max_length:
        raise InputError(
            f"params.yaml: train.model.max_length is {length}, but the teacher reads"
            f" {teacher.config.max_length}; write that number in the parameter file of the student"
        )


def link_inputs(night: Night, student_night: Night) -> None:
    """Link the inputs of the model steps into the student's workspace, and copy the record of earlier steps.

    Raises:
        InputError: The workspace holds the student of another night, or is no workspace of a student.
    """
    student_night.workspace.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        link, target = student_night.workspace / name, (night.workspace / name).resolve()
        if not (link.is_symlink() or link.exists()):
            link.symlink_to(target)
        elif not link.is_symlink() or link.resolve() != target:
            raise InputError(f"{link} exists and is no link to {target}; choose another --out")
    student_night.run_manifests.mkdir(exist_ok=True)
    for step in COPIED_MANIFESTS:
        if (manifest := night.run_manifests / f"{step}.json").is_file():
            shutil.copyfile(manifest, student_night.run_manifests / manifest.name)
