"""Run a recorded night again from its tag, and compare every digest with the record.

Clones the record at the night's newest revision, or at the one that is named (`YYYY-MM-DD.2`), pulls the
pinned snapshot from its store, runs the model half with the recorded code and parameters, and tells for each
output whether the bytes are the same.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from tqdm import tqdm

from contracts import place
from contracts.errors import DONE, FAILED, REFUSED_INPUT, InputError
from contracts.place import parse_day, without_credentials
from contracts.step import tell_without_credentials
from tasks.record import MODEL_HALF, outputs
from tasks.repository import call, hand_over_store, revisions, tag_of

AGAIN = MODEL_HALF[1:]  # the snapshot is pulled, not made: it pins what the lake held that night


def main(argv: list[str] | None = None) -> int:
    """Command line; exit code 0: every digest as recorded, 1: not so, 2: refused."""
    parser = argparse.ArgumentParser(prog="python -m tasks.reproduce", description=__doc__)
    known = "a recorded night, its newest revision; YYYY-MM-DD.1, .2, ...: that revision"
    parser.add_argument("--night", required=True, metavar="YYYY-MM-DD[.N]", help=known)
    parser.add_argument("--into", type=Path, help="folder of the clone (default: under UNDERCURRENT_HOME)")
    args = parser.parse_args(argv)
    sys.excepthook = tell_without_credentials
    try:
        return _compared(args.night, args.into)
    except InputError as error:
        print(f"reproduce: refused: {without_credentials(str(error))}", file=sys.stderr)
        return REFUSED_INPUT
    except (RuntimeError, subprocess.CalledProcessError) as error:
        print(f"reproduce: failed: {without_credentials(str(error))}", file=sys.stderr)
        return FAILED


def _compared(night: str, into: Path | None) -> int:
    """Reproduce, and print what came out the same; returns the exit code."""
    tag = recorded_tag(night)
    same = reproduce(tag, into or place.home() / "reproduce" / tag.removeprefix("night/"))
    for output, equal in same.items():
        print(f"{'same     ' if equal else 'DIFFERENT'}  {output}")
    print(f"{tag}: {sum(same.values())} of {len(same)} outputs have the recorded digest")
    return DONE if all(same.values()) else FAILED


def recorded_tag(night: str) -> str:
    """The tag of a night's newest revision, or of the revision that is named.

    Raises:
        InputError: no such night is recorded, or not in that revision.
    """
    day, dot, number = night.partition(".")
    found = revisions(place.record(), parse_day(day))
    if dot and not (number.isascii() and number.isdigit() and int(number)):
        raise InputError(f"night: {night!r} names no revision; write it as {day}.2, or {day} for the newest")
    tag = tag_of(parse_day(day), int(number)) if dot else found[-1] if found else f"night/{day}"
    if tag not in found:
        raise InputError(
            f"{place.record()} has no tag {tag}; see `git -C {place.record()} tag` for the recorded nights"
        )
    return tag


def reproduce(tag: str, folder: Path) -> dict[str, bool]:
    """Output path -> whether it came out with the digest that is recorded under the tag.

    Raises:
        RuntimeError: the record could not be cloned, or its snapshot not be pulled.
        subprocess.CalledProcessError: a step failed; its words are on the screen.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    call(["git", "clone", "--branch", tag, str(place.record()), str(folder)], Path.cwd())
    hand_over_store(place.record(), folder)
    dvc = [sys.executable, "-m", "dvc"]
    recorded = _digests(folder)
    call([*dvc, "pull", "snapshot"], folder)
    for stage in tqdm(AGAIN, f"reproduce {tag}", unit="step"):
        subprocess.run(
            [*dvc, "repro", "--single-item", "--force", stage], cwd=folder, env=_own_world(folder), check=True
        )
    again = _digests(folder)
    return {output: again.get(output) == digest for output, digest in recorded.items()}


def _own_world(folder: Path) -> dict[str, str]:
    """An environment whose lake and MLflow are the clone's own, and whose python is this one."""
    return os.environ | {
        "UNDERCURRENT_HOME": str(folder / "var"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


def _digests(folder: Path) -> dict[str, str]:
    """Output path -> md5 from dvc.lock, of the steps run again."""
    return outputs(yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8")), AGAIN)


if __name__ == "__main__":
    sys.exit(main())
