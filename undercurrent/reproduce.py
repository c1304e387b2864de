"""Reproduction of a recorded night from its tag. Every digest is compared with the record.

The record repository is cloned at the newest revision of the night, or at a given one (`YYYY-MM-DD.2`). The
snapshot is pulled from its store. Then the model half runs with the recorded code, parameters and packages.
"""

import os
import shutil
import subprocess
from pathlib import Path

import yaml
from tqdm import tqdm

from core import paths
from core.errors import InputError
from core.paths import parse_day
from registry.record_repository import copy_store_settings, revision_tag, revision_tags, run_command
from tasks.record import MODEL_HALF, output_digests
from undercurrent.forget import find_certificate
from undercurrent.recorded_environment import recorded_python

RERUN_STEPS = MODEL_HALF[1:]  # all but the snapshot, which is pulled: the lake has changed since then


def recorded_tag(night: str) -> str:
    """Return the tag of a recorded night.

    Args:
        night: `YYYY-MM-DD` for the newest revision, `YYYY-MM-DD.N` for revision N.

    Raises:
        InputError: The night or the revision is not recorded.
    """
    day, separator, number = night.partition(".")
    tags = revision_tags(paths.record(), parse_day(day))
    if separator and not (number.isascii() and number.isdigit() and int(number)):
        raise InputError(f"--night is {night!r}; write {day}.2 for a revision, or {day} for the newest")
    tag = revision_tag(parse_day(day), int(number)) if separator else tags[-1] if tags else f"night/{day}"
    if tag not in tags:
        raise InputError(
            f"{paths.record()} has no tag {tag}; `git -C {paths.record()} tag` lists the recorded nights"
        )
    return tag


def reproduce(tag: str, folder: Path) -> dict[str, bool]:
    """Run the model half of a recorded night again in a clone.

    Args:
        tag: See `recorded_tag`.
        folder: Of the clone. An existing folder is replaced.

    Returns:
        Output path -> whether its digest is the recorded one.

    Raises:
        InputError: Files of the night were deleted together with a user, or uv is not installed.
        RuntimeError: The record could not be cloned, its snapshot could not be pulled, or its environment
            could not be built.
        subprocess.CalledProcessError: A step failed. It has printed its error.
    """
    if certificate := find_certificate(tag):
        raise InputError(
            f"{tag} cannot be reproduced: files of its snapshot were deleted together with a user, see"
            f" {certificate}; choose another night"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    run_command(["git", "clone", "--branch", tag, str(paths.record()), str(folder)], folder.parent)
    copy_store_settings(paths.record(), folder)
    python = recorded_python(folder)
    dvc = [str(python), "-m", "dvc"]
    recorded = _recorded_digests(folder)
    run_command([*dvc, "pull", "snapshot"], folder)
    for step in tqdm(RERUN_STEPS, f"reproduce {tag}", unit="step"):
        subprocess.run(
            [*dvc, "repro", "--single-item", "--force", step],
            cwd=folder,
            env=_isolated_environment(folder, python),
            check=True,
        )
    reproduced = _recorded_digests(folder)
    return {output: reproduced.get(output) == digest for output, digest in recorded.items()}


def _isolated_environment(folder: Path, python: Path) -> dict[str, str]:
    """Return environment variables with the clone's own lake and MLflow, and with the recorded Python."""
    return os.environ | {
        "UNDERCURRENT_HOME": str(folder / "var"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
    }


def _recorded_digests(folder: Path) -> dict[str, str]:
    """Return output path -> md5 from dvc.lock, of the steps that run again."""
    return output_digests(yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8")), RERUN_STEPS)
