"""Run a night of a simulated platform up to align in a separate lake, for benchmarks."""

import json
import os
from datetime import timedelta
from pathlib import Path

import yaml

from benchmarks.quality.nights import run_command
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night, parse_day
from simulator.ground_truth import FOLDER_NAME
from snapshots.reader import SnapshotReader

STEPS = ("ingest", "clean", "embed", "sequences", "snapshot", "align")
MAX_LENGTH = 400  # interactions of a sequence: all of a few weeks


def last_night(path: Path) -> str:
    """Return the last day of a simulation as YYYY-MM-DD.

    Raises:
        InputError: `python -m simulator make` did not write the folder.
    """
    summary_path = path / FOLDER_NAME / "simulator.json"
    if not summary_path.is_file() or not (path / "landing").is_dir():
        raise InputError(
            f"{path} does not hold landing/ and {FOLDER_NAME}/simulator.json; "
            "give a folder that `python -m simulator make --out DIR` wrote"
        )
    simulator_params = json.loads(summary_path.read_text(encoding="utf-8"))["params"]
    first = parse_day(simulator_params["first_day"], f"{summary_path}: params.first_day")
    return str(first + timedelta(simulator_params["history_days"] + simulator_params["nights"] - 1))


def run_night(path: Path, home: Path) -> SnapshotReader:
    """Run the last night of a simulation up to align.

    Sequences are not shortened (`sequences.max_length`). All other parameters are those of params.yaml.

    Args:
        path: folder of the simulation.
        home: folder that becomes UNDERCURRENT_HOME.

    Raises:
        InputError: the folder holds no simulation, or a step refuses the night.
    """
    day = last_night(path)
    raw_params = yaml.safe_load((PROJECT_ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw_params["sequences"]["max_length"] = MAX_LENGTH
    params_path = home / "params.yaml"
    params_path.write_text(yaml.safe_dump(raw_params), encoding="utf-8")
    os.environ |= {"UNDERCURRENT_HOME": str(home), "UNDERCURRENT_LANDING": str((path / "landing").resolve())}
    workspace = home / "nights" / day
    for step in STEPS:
        arguments = ("--night", day, "--workspace", str(workspace), "--params", str(params_path))
        if run_command(home, f"tasks.{step}", *arguments):
            raise InputError(f"{path}: step {step} refused the night {day}; see its message above")
    return SnapshotReader(Night(parse_day(day), workspace, params_path))
