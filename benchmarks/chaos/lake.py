"""Kill ingest, clean and sequences at random moments, repeat them, and compare the tables.

Each step of several nights runs in a process of its own, on events of `simulator stream`. It is killed
(SIGKILL) once at a random moment after its start, and run again. Then all tables must hold the rows of an
undisturbed run after the same step. If kills are left after the last night, the nights begin again on a new
lake. The last line is the JSON result.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.result import publish_result
from core.errors import DONE
from core.paths import PROJECT_ROOT
from core.run_manifests import read_manifest
from lake import audits
from lake.client import Lake

STEPS = ("ingest", "clean", "sequences")
TABLES = ("landings", "events", "users", "videos", "interactions", "rejects", "sequences")
Tables = Mapping[str, Counter[str]]  # table -> its rows as JSON -> how often each occurs


@dataclass
class KillCounts:
    """What the kills of a step did.

    Attributes:
        kills: how often the step was started to be killed.
        in_time: how often it was killed. The other times it had already ended.
        survived: after how many of the kills the repeated step left the tables of an undisturbed run.
        rows_lost: rows that were then missing.
        rows_added: rows that were then too many.
    """

    kills: int = 0
    in_time: int = 0
    survived: int = 0
    rows_lost: int = 0
    rows_added: int = 0

    def add(self, in_time: bool, expected: Tables, actual: Tables) -> None:
        """Count a kill, and compare the tables after it with those of an undisturbed run."""
        lost = sum((expected[name] - actual[name]).total() for name in TABLES)
        added = sum((actual[name] - expected[name]).total() for name in TABLES)
        self.kills += 1
        self.in_time += in_time
        self.survived += not lost + added
        self.rows_lost += lost
        self.rows_added += added


@dataclass
class UndisturbedRun:
    """The states and times of nights without a kill.

    Attributes:
        tables: night and step -> the tables after it.
        seconds: night and step -> its time, from its start to its run manifest.
    """

    tables: dict[tuple[date, str], Tables] = field(default_factory=dict)
    seconds: dict[tuple[date, str], float] = field(default_factory=dict)


def main() -> int:
    """Run the benchmark. Returns the exit code, which is 1 if a kill changed the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos.lake", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="how many (default: %(default)s)")
    parser.add_argument("--events", type=int, default=20_000, help="events in all (default: %(default)s)")
    parser.add_argument("--days", type=int, default=4, help="days of events (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/chaos-lake.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="undercurrent-chaos-") as folder:
        events = ("--events", str(args.events), "--days", str(args.days), "--out", folder)
        subprocess.run([sys.executable, "-m", "simulator", "stream", *events], cwd=PROJECT_ROOT, check=True)
        counts = run_kills(Path(folder) / "landing", Path(folder), args.kills, args.seed)
    print(format_table(counts))
    figures = {"events": args.events, "days": args.days, "seed": args.seed}
    by_step = {step: asdict(step_counts) for step, step_counts in counts.items()}
    publish_result("chaos-lake", figures | by_step, {}, args.keep)
    return DONE if all(c.survived == c.kills for c in counts.values()) else 1


def run_kills(landing: Path, folder: Path, num_kills: int, seed: int) -> dict[str, KillCounts]:
    """Kill steps of the nights of a landing folder, and return the counts of each step.

    Args:
        landing: landing files. Each day with events is a night.
        folder: where the lakes are made.
        num_kills: how many kills.
        seed: seed of the random moments.
    """
    undisturbed = run_undisturbed(landing, folder / "undisturbed")
    moments, counts = random.Random(seed), {step: KillCounts() for step in STEPS}
    steps = list(undisturbed.tables)
    for number in tqdm(range(num_kills), "chaos", unit="kill"):
        night, step = steps[number % len(steps)]
        if number % len(steps) == 0:
            home = _new_home(landing, folder / "disturbed")
        moment = moments.uniform(0, undisturbed.seconds[night, step])
        in_time = run_step(step, night, home, kill_after=moment)
        run_step(step, night, home)
        counts[step].add(in_time, undisturbed.tables[night, step], read_tables())
        _pass_checks(step, night)
    return counts


def run_undisturbed(landing: Path, home: Path) -> UndisturbedRun:
    """Run all nights without a kill on a new lake."""
    run, home = UndisturbedRun(), _new_home(landing, home)
    for night, step in _steps_of_nights(landing):
        run_step(step, night, home)
        run.tables[night, step] = read_tables()
        run.seconds[night, step] = read_manifest(home / str(night) / "run_manifests", step)["seconds"]
        _pass_checks(step, night)
    return run


def run_step(
    step: str,
    night: date,
    home: Path,
    kill_after: float | None = None,
    params: Path = PROJECT_ROOT / "params.yaml",
    max_file_bytes: int | None = None,
) -> bool:
    """Run a step in a process of its own, and return whether it was killed.

    Args:
        step: the step.
        night: the night.
        home: UNDERCURRENT_HOME.
        kill_after: seconds from the start of its work to the kill. None: it is not killed.
        params: its parameter file.
        max_file_bytes: bytes that it can write to each file, as if the disk were then full. None: no limit.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    arguments = ("--night", str(night), "--workspace", str(home / str(night)), "--params", str(params))
    limit = [] if max_file_bytes is None else ["prlimit", f"--fsize={max_file_bytes}"]
    command = [*limit, sys.executable, "-m", f"tasks.{step}", *arguments]
    with tempfile.TemporaryFile("w+") as rest:
        process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stderr is not None
        for line in process.stderr:
            rest.write(line)
            if line.startswith(f"{step}: night"):  # Python has started, and the work begins
                break
        try:
            _, messages = process.communicate(timeout=kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return True
        rest.seek(0)
        if process.returncode != DONE:
            raise subprocess.CalledProcessError(process.returncode, command, stderr=rest.read() + messages)
    return False


def read_tables() -> Tables:
    """Return the rows of all tables of the present home."""
    lake = Lake()
    rows = {name: lake.lazy_scan(name).collect().write_ndjson().splitlines() for name in TABLES}
    return {name: Counter(lines) for name, lines in rows.items()}


def format_table(counts: Mapping[str, Any]) -> str:
    """Return one line for each step, and one for all.

    Args:
        counts: step -> its counts, as a dataclass of numbers.
    """
    names = list(asdict(next(iter(counts.values()))))
    rows = [[step, *(getattr(c, name) for name in names)] for step, c in counts.items()]
    total = ["all", *(sum(getattr(c, name) for c in counts.values()) for name in names)]
    header = ["step", *(name.replace("_", " ") for name in names)]
    return "\n".join("".join(f"{cell!s:>16}" for cell in row) for row in [header, *rows, total])


def _steps_of_nights(landing: Path) -> Iterator[tuple[date, str]]:
    folders = sorted((landing / "events").iterdir())
    nights: Sequence[date] = [date.fromisoformat(folder.name.removeprefix("dt=")) for folder in folders]
    return ((night, step) for night in nights for step in STEPS)


def _new_home(landing: Path, home: Path) -> Path:
    """Make an empty home with the landing files. This process and its steps work in it from now on."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(landing, home / "landing")
    os.environ["UNDERCURRENT_HOME"] = str(home)
    os.environ.pop("UNDERCURRENT_LANDING", None)
    return home


def _pass_checks(step: str, night: date) -> None:
    """Store that the night passed its checks. They are between clean and sequences."""
    if step == "clean":
        audits.write_audit(night, "passed")


if __name__ == "__main__":
    sys.exit(main())
