"""Record the night: a commit and a tag `night/YYYY-MM-DD` in the record repository (git + DVC).

A night's commit holds the code, the parameters, receipts, metrics and the verdict as files, and snapshot,
model and per-user results as DVC outputs, pushed to the record's store: whatever `make reproduce` needs.

A tag is never moved. A night that is recorded again becomes a revision, `night/YYYY-MM-DD.2`, `.3` and so on;
one that differs from its newest revision in nothing but receipts, which tell times, is not recorded again.
"""

import re
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from contracts import place, production, step
from contracts.errors import InputError
from contracts.params import Record
from contracts.place import PROJECT, Night
from contracts.receipts import Receipt, read_receipt
from tasks import repository
from tasks.repository import Repository, call, revisions, tag_of

MODEL_HALF = ("snapshot", "align", "train", "evaluate", "gate")  # what DVC can run again from files alone
KEPT = ("receipts", "check", *MODEL_HALF)
LEFTOVERS = shutil.ignore_patterns(".*", "*.new")  # what a killed run was still writing
NOT_COMPARED = ("night/receipts", ".dvc", "dvc.lock")  # times, where the store is, and digests of both


def run(params: Record, night: Night) -> Receipt:
    """Commit and tag the night, unless it is recorded as it is.

    Raises:
        InputError: promote has not completed, or the project's folder is no git checkout.
        RuntimeError: git or DVC failed.
    """
    read_receipt(night.receipts, "promote")
    if why := production.left_alone():
        print(f"record: {why}", file=sys.stderr)
        where = str(place.record())
        return Receipt(facts={"tag": None, "commit": None, "repository": where, "outcome": why})
    with repository.alone(place.record(), params) as record:
        _lay_out(record, night)
        record.dvc("commit", "--force", *MODEL_HALF)
        record.dvc("push", *MODEL_HALF)
        record.git("add", "--all")
        tag = _tag(record, night)
        commit = record.git("rev-parse", f"{tag}^{{commit}}")
    return Receipt(facts={"tag": tag, "commit": commit, "repository": str(record.folder)})


def _tag(record: Repository, night: Night) -> str:
    """The tag of what is laid out: the newest revision's when that is the same, else a new one."""
    taken = revisions(record.folder, night.day)
    if taken and not _differs(record, taken[-1]):
        record.git("reset", "--hard")
        return taken[-1]
    if record.git("status", "--porcelain"):
        record.git("commit", "-m", f"Night {night.day}, code {step.code_commit()}")
    tag = tag_of(night.day, _number(taken[-1]) + 1 if taken else 1)
    record.git("tag", tag)
    return tag


def _number(tag: str) -> int:
    return int(tag.partition(".")[2] or 1)


def _differs(record: Repository, tag: str) -> bool:
    """Whether anything but receipts differs from a revision: a file, or the digest of a DVC output."""
    but = [f":(exclude){name}" for name in NOT_COMPARED]
    if record.git("diff", "--cached", "--name-only", tag, "--", ".", *but):
        return True
    before = yaml.safe_load(record.git("show", f"{tag}:dvc.lock"))
    return outputs(before) != outputs(
        yaml.safe_load((record.folder / "dvc.lock").read_text(encoding="utf-8"))
    )


def outputs(lock: dict[str, Any], stages: Sequence[str] = MODEL_HALF) -> dict[str, str]:
    """Output path -> md5 of what stages made, from a dvc.lock; not of receipts, which tell times."""
    outs = [out for name in stages for out in lock["stages"][name]["outs"]]
    return {out["path"]: out["md5"] for out in outs if not out["path"].startswith("night/receipts")}


def _lay_out(record: Repository, night: Night) -> None:
    """Make the working tree the night's: the project's files as they are, and the night's folder."""
    folder = record.folder
    record.git("clean", "-ffd", "--exclude=/.dvc")  # what a killed run laid out and did not commit
    for name in record.git("ls-files").splitlines():
        if not name.startswith(".dvc/"):
            (folder / name).unlink(missing_ok=True)
    for name in project_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, target)
    ignored = (folder / ".gitignore").read_text(encoding="utf-8").splitlines()
    (folder / ".gitignore").write_text("\n".join(line for line in ignored if line != "night/") + "\n")
    (folder / "params.yaml").write_text(_params_of(night), encoding="utf-8")
    shutil.rmtree(folder / "night", ignore_errors=True)
    for part in KEPT:
        shutil.copytree(night.workspace / part, folder / "night" / part, ignore=LEFTOVERS)


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


if __name__ == "__main__":
    sys.exit(step.main("record", run, __doc__))
