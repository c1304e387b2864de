"""Run a recorded night again from its tag, and compare every digest with the record.

Clones the record at `night/YYYY-MM-DD`, pulls the pinned snapshot from its store, runs the model half with
the recorded code and parameters, and tells for each output whether the bytes are the same.
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
from contracts.place import parse_day
from tasks.record import MODEL_HALF, call

AGAIN = MODEL_HALF[1:]  # the snapshot is pulled, not made: it pins what the lake held that night


def main(argv: list[str] | None = None) -> int:
    """Command line; exit code 0: every digest as recorded, 1: not so, 2: refused."""
    parser = argparse.ArgumentParser(prog="python -m tasks.reproduce", description=__doc__)
    parser.add_argument("--night", required=True, metavar="YYYY-MM-DD", help="a recorded night")
    parser.add_argument("--into", type=Path, help="folder of the clone (default: under UNDERCURRENT_HOME)")
    args = parser.parse_args(argv)
    try:
        night = str(parse_day(args.night))
        same = reproduce(night, args.into or place.home() / "reproduce" / night)
    except InputError as error:
        print(f"reproduce: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    for output, equal in same.items():
        print(f"{'same     ' if equal else 'DIFFERENT'}  {output}")
    print(f"{sum(same.values())} of {len(same)} outputs have the recorded digest")
    return DONE if all(same.values()) else FAILED


def reproduce(night: str, folder: Path) -> dict[str, bool]:
    """Output path -> whether it came out with the recorded digest.

    Raises:
        InputError: there is no record of that night.
    """
    repository = place.record()
    tag = f"night/{night}"
    if not repository.exists() or tag not in call(["git", "tag"], repository).split():
        raise InputError(
            f"{repository} has no tag {tag}; see `git -C {repository} tag` for the recorded nights"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    call(["git", "clone", "--quiet", "--branch", tag, str(repository), str(folder)], Path.cwd())
    dvc = [sys.executable, "-m", "dvc"]
    recorded = _digests(folder)
    call([*dvc, "pull", "--quiet", "snapshot"], folder)
    for stage in tqdm(AGAIN, f"reproduce {night}", unit="step"):
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
    """Output path -> md5 from dvc.lock, of the steps run again; not of receipts, which tell times."""
    lock = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))
    outs = [out for stage in AGAIN for out in lock["stages"][stage]["outs"]]
    return {out["path"]: out["md5"] for out in outs if not out["path"].startswith("night/receipts")}


if __name__ == "__main__":
    sys.exit(main())
