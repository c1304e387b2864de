"""Compare ingest, clean and sequences with one polars script on the events of `simulator stream`.

Both sides run in processes of their own, one after the other. Seconds include the start of Python and of the
JVM. CPU seconds are those of the process and its children. They hardly depend on what else runs. The last
line is the JSON result. Three parts can be measured:

- `whole`: all days in one run.
- `night`: one more day on top of the others. With 100 days, the night brings 1 % of the events.
- `user`: all days in one run, with a user who has 2 % of all events, and with the same events dealt to all
  users.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import psutil
from tqdm import tqdm

from benchmarks.result import publish_result
from benchmarks.speed.lake import heavy_user
from core.paths import PROJECT_ROOT
from lake import audits

STEPS = ("ingest", "clean", "sequences")
PARTS = ("whole", "night", "user")
HEAVY_SHARE = 0.02  # of all events, by one user
SAMPLE_SECONDS = 0.5  # a sample of a large process takes tenths of a second
MIB = 1 << 20


@dataclass(frozen=True)
class Run:
    """A finished process.

    Attributes:
        seconds: Wall time.
        cpu_seconds: CPU time of the process and its children. Each can lack up to SAMPLE_SECONDS.
        peak_mib: Peak of the memory of the process and its children, as the sum of proportional set sizes.
        output: Standard output.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: int
    output: str

    def figures(self) -> dict[str, float]:
        times = {"seconds": round(self.seconds, 1), "cpu_seconds": round(self.cpu_seconds, 1)}
        return times | {"peak_mib": self.peak_mib}


@dataclass
class Usage:
    """What a process and its children have used so far.

    Attributes:
        cpu_seconds: By process id, in the last sample of each process.
        peak_bytes: Largest memory of all together.
    """

    cpu_seconds: dict[int, float] = field(default_factory=dict)
    peak_bytes: int = 0


def main() -> int:
    """Run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.lake", description=__doc__)
    parser.add_argument("--events", type=float, default=1e6, help="number of events (default: 1e6)")
    parser.add_argument("--days", type=int, default=7, help="number of days (default: %(default)s)")
    parser.add_argument("--work", type=Path, required=True, help="working folder; it may hold the events")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    parser.add_argument("--no-yardstick", action="store_true", help="leave the polars script out")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/lake-<events>.json")
    args = parser.parse_args()
    landing = make_events(args.work.resolve(), int(args.events), args.days)
    days = sorted(parse_folder(folder) for folder in (landing / "events").iterdir())
    figures: dict = {"events": int(args.events), "days": len(days)}
    ratios: dict[str, float] = {}
    if "whole" in args.parts:
        whole, counts = run_steps(args.work / "home-whole", landing, days[-1], fresh=True)
        figures["whole"] = describe(whole) | counts
        if not args.no_yardstick:
            yardstick = run_yardstick(landing, days[-1])
            figures["polars"] = yardstick.figures() | json.loads(yardstick.output.splitlines()[-1])
            ratios["whole_over_polars"] = round(sum_seconds(whole) / yardstick.seconds, 2)
            figures["equal_counts"] = all(counts[name] == figures["polars"][name] for name in counts)
    if "night" in args.parts:
        with without_day(landing, days[-1]):
            history, _ = run_steps(args.work / "home-night", landing, days[-2], fresh=True)
            pass_checks(args.work / "home-night", days[-2])
        night, _ = run_steps(args.work / "home-night", landing, days[-1], fresh=False)
        figures |= {"history": describe(history), "night": describe(night)}
        ratios["night_over_history"] = round(sum_seconds(night) / sum_seconds(history), 3)
        ratios["night_cpu_over_history_cpu"] = round(sum_cpu_seconds(night) / sum_cpu_seconds(history), 3)
    if "user" in args.parts:
        user_figures, user_ratios = measure_heavy_user(args.work, landing, days[-1])
        figures |= user_figures
        ratios |= user_ratios
    publish_result(f"lake-{int(args.events):.0e}".replace("+0", ""), figures, ratios, args.keep)
    return 0


def make_events(work: Path, num_events: int, num_days: int) -> Path:
    """Write the events, unless an earlier run did. Return the landing folder."""
    folder = work / f"events-{num_events}-{num_days}"
    if not folder.is_dir():
        arguments = ("--events", num_events, "--days", num_days, "--out", folder)
        run("simulator", "stream", *arguments, environment={})
    return folder / "landing"


def parse_folder(folder: Path) -> date:
    """Return the day of a folder dt=YYYY-MM-DD."""
    return date.fromisoformat(folder.name.removeprefix("dt="))


@contextmanager
def without_day(landing: Path, day: date):  # type: ignore[no-untyped-def]
    """Hide the landing files of the events of a day."""
    folder, hidden = landing / "events" / f"dt={day}", landing.parent / f"hidden-{day}"
    folder.rename(hidden)
    try:
        yield
    finally:
        hidden.rename(folder)


def run_steps(home: Path, landing: Path, night: date, fresh: bool) -> tuple[dict[str, Run], dict]:
    """Run the steps of a night.

    Args:
        home: UNDERCURRENT_HOME.
        landing: The landing folder.
        night: The night.
        fresh: Whether to empty the home first.

    Returns:
        Step -> its run, and the counts of the tables.
    """
    if fresh:
        shutil.rmtree(home, ignore_errors=True)
    workspace = home.resolve() / "nights" / str(night)
    environment = {"UNDERCURRENT_HOME": str(home.resolve()), "UNDERCURRENT_LANDING": str(landing)}
    runs = {}
    for step in tqdm(STEPS, f"steps of {night}", unit="step"):
        arguments = ("--night", night, "--workspace", workspace)
        runs[step] = run(f"tasks.{step}", *arguments, environment=environment)
    manifests = {
        step: json.loads((workspace / "run_manifests" / f"{step}.json").read_text()) for step in STEPS
    }
    rows = manifests["clean"]["row_counts"]
    return runs, {"events": rows["kept"], "rejected": rows["rejected"]}


def pass_checks(home: Path, night: date) -> None:
    """Store that a night passed its checks, so that the next one sees it."""
    os.environ["UNDERCURRENT_HOME"] = str(home.resolve())
    audits.write_audit(night, "passed")


def measure_heavy_user(work: Path, landing: Path, night: date) -> tuple[dict, dict[str, float]]:
    """Run the steps with a heavy user and without. Return the figures of both, and their ratios."""
    runs = {}
    for name, share in (("dealt", 0.0), ("heavy_user", HEAVY_SHARE)):
        folder = landing.parent / f"landing-{name}"
        heavy_user.write_landing(landing, folder, share)
        runs[name], _ = run_steps(work / f"home-{name}", folder, night, fresh=True)
    ratios = {
        f"heavy_user_{step}_{measure}": round(
            getattr(runs["heavy_user"][step], measure) / getattr(runs["dealt"][step], measure), 2
        )
        for step in ("clean", "sequences")
        for measure in ("cpu_seconds", "peak_mib")
    }
    return {name: describe(steps) for name, steps in runs.items()}, ratios


def run_yardstick(landing: Path, night: date) -> Run:
    """Run the polars script."""
    return run("benchmarks.speed.lake.polars_lake", "--landing", landing, "--night", night, environment={})


def describe(runs: Mapping[str, Run]) -> dict:
    """Return the figures of each step and of all together."""
    total = Run(sum_seconds(runs), sum_cpu_seconds(runs), max(r.peak_mib for r in runs.values()), "")
    return total.figures() | {step: step_run.figures() for step, step_run in runs.items()}


def sum_seconds(runs: Mapping[str, Run]) -> float:
    """Return the seconds of all steps."""
    return sum(step_run.seconds for step_run in runs.values())


def sum_cpu_seconds(runs: Mapping[str, Run]) -> float:
    """Return the CPU seconds of all steps."""
    return sum(step_run.cpu_seconds for step_run in runs.values())


def run(module: str, *arguments: object, environment: Mapping[str, str]) -> Run:
    """Run a module in a process of its own, and sample its memory and CPU time.

    Raises:
        subprocess.CalledProcessError: It failed. Its messages are on standard error.
    """
    command: Sequence[str] = (sys.executable, "-m", module, *map(str, arguments))
    start, usage = time.perf_counter(), Usage()
    process = subprocess.Popen(
        command, cwd=PROJECT_ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )
    sampler = threading.Thread(target=_sample, args=(process, usage))
    sampler.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - start
    sampler.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Run(seconds, sum(usage.cpu_seconds.values()), usage.peak_bytes // MIB, output)


def _sample(process: subprocess.Popen, usage: Usage) -> None:
    """Record the memory and the CPU time of a process and its children until it ends.

    The system adds the CPU time of a child to its parent only if the parent waits for the child. Spark does
    not wait for its Python workers.
    """
    root = psutil.Process(process.pid)
    while process.poll() is None:
        total_bytes = 0
        for member in [root, *_children(root)]:
            try:
                times = member.cpu_times()
                usage.cpu_seconds[member.pid] = times.user + times.system
                total_bytes += member.memory_full_info().pss
            except psutil.Error:
                continue  # it has ended
        usage.peak_bytes = max(usage.peak_bytes, total_bytes)
        time.sleep(SAMPLE_SECONDS)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


if __name__ == "__main__":
    sys.exit(main())
