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
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from tqdm import tqdm

from benchmarks.chaos.step_runs import Step, StepProcess, complete_step
from benchmarks.result import publish_result
from core.errors import DONE
from core.paths import PROJECT_ROOT
from lake import audits
from lake.client import Lake

STEPS = ("ingest", "clean", "sequences")
TABLES = ("landings", "events", "users", "videos", "interactions", "item_statistics", "rejects", "sequences")
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
    steps: list[Step] = []
    for _ in tqdm(range(num_kills), "chaos", unit="kill"):
        if not steps:
            steps = _steps_of_nights(_new_home(landing, folder / "disturbed"))
        step = steps.pop(0)
        process = StepProcess(step)
        in_time = process.run_for(moments.uniform(0, undisturbed.seconds[step.night, step.name]))
        if in_time:
            process.kill()
        process.end()
        complete_step(step)
        expected = undisturbed.tables[step.night, step.name]
        counts[step.name].add(in_time, expected, read_tables(step.night))
        _pass_checks(step)
    return counts


def run_undisturbed(landing: Path, home: Path) -> UndisturbedRun:
    """Run all nights without a kill on a new lake."""
    run = UndisturbedRun()
    for step in _steps_of_nights(_new_home(landing, home)):
        complete_step(step)
        run.tables[step.night, step.name] = read_tables(step.night)
        run.seconds[step.night, step.name] = step.seconds
        _pass_checks(step)
    return run


def read_tables(until: date) -> Tables:
    """Return the rows of all tables of the present home, up to a day."""
    lake, known = Lake(), pl.col("day") <= until
    rows = {name: lake.lazy_scan(name).filter(known).collect().write_ndjson() for name in TABLES}
    return {name: Counter(lines.splitlines()) for name, lines in rows.items()}


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


def _steps_of_nights(home: Path) -> list[Step]:
    """Return the steps of all nights in order. Each day with events is a night."""
    folders = sorted((home / "landing" / "events").iterdir())
    nights = [date.fromisoformat(folder.name.removeprefix("dt=")) for folder in folders]
    return [Step(name, night, home) for night in nights for name in STEPS]


def _new_home(landing: Path, home: Path) -> Path:
    """Make an empty home with the landing files. This process and its steps work in it from now on."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(landing, home / "landing")
    os.environ["UNDERCURRENT_HOME"] = str(home)
    os.environ.pop("UNDERCURRENT_LANDING", None)
    return home


def _pass_checks(step: Step) -> None:
    """Store that the night passed its checks. They are between clean and sequences."""
    if step.name == "clean":
        audits.write_audit(step.night, "passed")


if __name__ == "__main__":
    sys.exit(main())
