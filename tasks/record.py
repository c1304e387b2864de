"""Record the night: a commit and a tag `night/YYYY-MM-DD` in the record repository (git + DVC).

A night's commit holds the code, the parameters, receipts, metrics and the verdict as files, and snapshot,
model and per-user results as DVC outputs, pushed to the record's store: whatever `make reproduce` needs.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contracts import place, production, step
from contracts.errors import InputError
from contracts.params import Record
from contracts.place import PROJECT, Night
from contracts.receipts import Receipt, read_receipt

MODEL_HALF = ("snapshot", "align", "train", "evaluate", "gate")  # what DVC can run again from files alone
KEPT = ("receipts", "check", *MODEL_HALF)


def run(params: Record, night: Night) -> Receipt:
    """Commit and tag the night.

    Raises:
        InputError: promote has not completed, or the project's folder is no git checkout.
    """
    read_receipt(night.receipts, "promote")
    repository = place.record()
    if why := production.left_alone():
        print(f"record: {why}", file=sys.stderr)
        return Receipt(facts={"tag": None, "commit": None, "repository": str(repository), "outcome": why})
    with _alone(repository):
        git = Git(repository, params)
        _prepare(repository, git)
        _lay_out(repository, git, night)
        _dvc(repository, "commit", "--force", "--quiet", *MODEL_HALF)
        _dvc(repository, "push", "--quiet", *MODEL_HALF)
        tag = f"night/{night.day}"
        git("add", "--all")
        if git("status", "--porcelain"):
            git("commit", "--quiet", "-m", f"Night {night.day}, code {step.code_commit()}")
        git("tag", "--force", tag)
        commit = git("rev-parse", "HEAD")
    return Receipt(facts={"tag": tag, "commit": commit, "repository": str(repository)})


class Git:
    """git in one repository, signed by the record's author; fails loudly."""

    def __init__(self, folder: Path, params: Record) -> None:
        self._folder = folder
        self._who = {
            f"GIT_{role}_{field}": value
            for role in ("AUTHOR", "COMMITTER")
            for field, value in (("NAME", params.author_name), ("EMAIL", params.author_email))
        }

    def __call__(self, *arguments: str) -> str:
        return call(["git", *arguments], self._folder, self._who)


def call(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> str:
    """Run a command in a folder; returns what it printed.

    Raises:
        RuntimeError: it failed; carries what it said.
    """
    done = subprocess.run(
        command, cwd=folder, env=os.environ | (environment or {}), capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} failed in {folder}: {done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout.strip()


@contextmanager
def _alone(repository: Path) -> Iterator[None]:
    """One writer at a time."""
    repository.parent.mkdir(parents=True, exist_ok=True)
    with (repository.parent / f".{repository.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prepare(repository: Path, git: Git) -> None:
    """Make the repository and its store (UNDERCURRENT_RECORD_REMOTE) when they are missing."""
    if (repository / ".dvc").exists():
        return
    repository.mkdir(parents=True, exist_ok=True)
    git("init", "--quiet", "--initial-branch=main")
    _dvc(repository, "init", "--quiet")
    store = os.environ.get(
        "UNDERCURRENT_RECORD_REMOTE", str(repository.with_name(f"{repository.name}-store"))
    )
    _dvc(repository, "config", "core.analytics", "false")
    _dvc(repository, "remote", "add", "--default", "store", store)


def _lay_out(repository: Path, git: Git, night: Night) -> None:
    """Make the working tree the night's: the project's files as they are, and the night's folder."""
    for name in git("ls-files").splitlines():
        if not name.startswith(".dvc/"):
            (repository / name).unlink(missing_ok=True)
    for name in project_files():
        target = repository / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, target)
    ignored = (repository / ".gitignore").read_text(encoding="utf-8").splitlines()
    (repository / ".gitignore").write_text("\n".join(line for line in ignored if line != "night/") + "\n")
    (repository / "params.yaml").write_text(_params_of(night), encoding="utf-8")
    shutil.rmtree(repository / "night", ignore_errors=True)
    for part in KEPT:
        shutil.copytree(night.workspace / part, repository / "night" / part)


def _params_of(night: Night) -> str:
    """The parameters that the night ran with, as the ones that `dvc repro` runs in the record."""
    text = night.params.read_text(encoding="utf-8")
    return re.sub(r"(?m)^night:.*$", f'night: "{night.day}"', text)


def project_files() -> list[str]:
    """The project's files: what git tracks and what it would, without what it ignores.

    Raises:
        InputError: the project's folder is no git checkout.
    """
    if not (PROJECT / ".git").exists():
        raise InputError(f"{PROJECT} is no git checkout, so the record cannot tell code from data; clone it")
    listed = call(["git", "ls-files", "--cached", "--others", "--exclude-standard"], PROJECT)
    return [
        name for name in listed.splitlines() if (PROJECT / name).is_file() and not name.startswith(".dvc/")
    ]


def _dvc(repository: Path, *arguments: str) -> str:
    return call([sys.executable, "-m", "dvc", *arguments], repository)


if __name__ == "__main__":
    sys.exit(step.main("record", run, __doc__))
