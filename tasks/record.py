"""Record the night as a commit with the tag `night/YYYY-MM-DD` in the record repository (git and DVC).

The commit holds code, parameters, run manifests and the verdict. Snapshot, model, metrics and results per
user are DVC outputs. They are pushed to the record's store, where `make reproduce` reads them.

A tag is never moved. A night that is recorded again becomes a revision: `night/YYYY-MM-DD.2`, `.3` and so on.
If only its run manifests differ, which hold times, there is no new revision.
"""

import re
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from core import paths, production, step_cli
from core.config import RecordConfig, merged_text
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from core.run_manifests import RunManifest, read_manifest
from registry import record_repository
from registry.record_repository import RecordRepository, revision_tag, revision_tags, run_command

MODEL_HALF = ("snapshot", "align", "train", "evaluate", "gate")  # the steps that DVC can run again from files
RECORDED_FOLDERS = ("run_manifests", "check", *MODEL_HALF)
TEMPORARY_FILES = shutil.ignore_patterns(".*", "*.new")  # unfinished files of a killed run
NOT_COMPARED = ("night/run_manifests", ".dvc", "dvc.lock")  # times, the store's address, and digests of both


def run(params: RecordConfig, night: Night) -> RunManifest:
    """Commit and tag the night, unless the newest revision is equal to it.

    Raises:
        InputError: `promote` has not completed, or the project's folder is not a git checkout.
        RuntimeError: git or DVC failed.
    """
    read_manifest(night.run_manifests, "promote")
    if reason := production.why_read_only():
        print(f"record: {reason}", file=sys.stderr)
        record_folder = str(paths.record())
        return RunManifest(
            facts={"tag": None, "commit": None, "repository": record_folder, "outcome": reason}
        )
    with record_repository.locked_repository(paths.record(), params) as record:
        _write_working_tree(record, night)
        record.dvc("commit", "--force", *MODEL_HALF)
        record.dvc("push", *MODEL_HALF)
        record.git("add", "--all")
        tag = _tag_revision(record, night)
        commit = record.git("rev-parse", f"{tag}^{{commit}}")
    return RunManifest(facts={"tag": tag, "commit": commit, "repository": str(record.folder)})


def _tag_revision(record: RecordRepository, night: Night) -> str:
    """Return the tag of the newest revision if nothing differs. Otherwise commit and tag a new one."""
    tags = revision_tags(record.folder, night.day)
    if tags and not _differs(record, tags[-1]):
        record.git("reset", "--hard")
        return tags[-1]
    if record.git("status", "--porcelain"):
        record.git("commit", "-m", f"Night {night.day}, code {step_cli.code_commit()}")
    tag = revision_tag(night.day, _revision_number(tags[-1]) + 1 if tags else 1)
    record.git("tag", tag)
    return tag


def _revision_number(tag: str) -> int:
    return int(tag.partition(".")[2] or 1)


def _differs(record: RecordRepository, tag: str) -> bool:
    """Whether a file or a DVC output differs from a revision. Run manifests are not compared."""
    excluded = [f":(exclude){name}" for name in NOT_COMPARED]
    if record.git("diff", "--cached", "--name-only", tag, "--", ".", *excluded):
        return True
    recorded_lock = yaml.safe_load(record.git("show", f"{tag}:dvc.lock"))
    return output_digests(recorded_lock) != output_digests(
        yaml.safe_load((record.folder / "dvc.lock").read_text(encoding="utf-8"))
    )


def output_digests(lock: dict[str, Any], stages: Sequence[str] = MODEL_HALF) -> dict[str, str]:
    """Read the digests of stage outputs from the content of a dvc.lock.

    Run manifests are left out because they hold times.

    Args:
        lock: The content of dvc.lock.
        stages: The stages to read.

    Returns:
        Output path -> md5.
    """
    outs = [out for name in stages for out in lock["stages"][name]["outs"]]
    return {out["path"]: out["md5"] for out in outs if not out["path"].startswith("night/run_manifests")}


def _write_working_tree(record: RecordRepository, night: Night) -> None:
    """Write the project's present files and the night's folder into the working tree."""
    folder = record.folder
    record.git("clean", "-ffd", "--exclude=/.dvc")  # uncommitted files of a killed run
    for name in record.git("ls-files").splitlines():
        if not name.startswith(".dvc/"):
            (folder / name).unlink(missing_ok=True)
    for name in project_files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT_ROOT / name, target)
    ignored = (folder / ".gitignore").read_text(encoding="utf-8").splitlines()
    (folder / ".gitignore").write_text("\n".join(line for line in ignored if line != "night/") + "\n")
    (folder / "params.yaml").write_text(_night_params(night), encoding="utf-8")
    shutil.rmtree(folder / "night", ignore_errors=True)
    for folder_name in RECORDED_FOLDERS:
        shutil.copytree(night.workspace / folder_name, folder / "night" / folder_name, ignore=TEMPORARY_FILES)


def _night_params(night: Night) -> str:
    """Return params.yaml of the night with its day, so that `dvc repro` in the record repeats this night."""
    return re.sub(r"(?m)^night:.*$", f"night: '{night.day}'", merged_text(night.params_path))


def project_files() -> list[str]:
    """List the project's files: those that git tracks, and new files that it does not ignore.

    Raises:
        InputError: The project's folder is not a git checkout.
    """
    if not (PROJECT_ROOT / ".git").exists():
        raise InputError(
            f"{PROJECT_ROOT} is not a git checkout, so its code files are unknown; clone the project with git"
        )
    output = run_command(["git", "ls-files", "--cached", "--others", "--exclude-standard"], PROJECT_ROOT)
    return [
        name
        for name in output.splitlines()
        if (PROJECT_ROOT / name).is_file() and not name.startswith(".dvc/")
    ]


if __name__ == "__main__":
    sys.exit(step_cli.main("record", run, __doc__))
