"""Disturb each step of whole nights, repeat it, and compare digests, tables and champion.

The nights are those of a tiny simulated platform with ready-made vectors, from ingest to promote. Each step
runs in a process of its own, and a random fault of `benchmarks.chaos.faults` disturbs it once:

kill             The step is killed (SIGKILL) at a random moment. In `train` that is the trainer.
jvm              The step runs on Spark, and Spark's JVM is killed.
file limit       The step cannot write more than some bytes to a file.
full disk        The disk that holds the home is full. It is a small one in memory, if this machine allows it.
poison           A damaged landing file arrives before `ingest`, and is removed after it.
clock            The clock moves by an hour to 400 days. It needs a C compiler.
overlap          Another night runs at the same time.
twice            The step is started twice.
postgres, s3, mlflow
                 The server stops, and starts again before the step is repeated.
broken network   The connections to S3 break, and no new one can be made.
stalled network  The connections to S3 transport nothing for some seconds.

Then the step runs again. Its digests, all tables and the champion must be those of an undisturbed run. Before
that, the champion must be the old or the new one. If faults are left after the last night, the nights begin
again in a new home. With --servers the nights use PostgreSQL, S3 and MLflow's server, else local files. The
last line is the JSON result.
"""

import argparse
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from benchmarks.chaos.faults import FAULTS, Target, small_disk
from benchmarks.chaos.lake import TABLES, Tables, format_table, read_tables
from benchmarks.chaos.servers import Servers, run_servers
from benchmarks.chaos.step_runs import Ending, Step, StepProcess, complete_step
from benchmarks.result import publish_result
from core import paths
from core.errors import DONE, InputError
from core.paths import PROJECT_ROOT, parse_day
from core.step_graph import STEPS
from registry.model_registry import CHAMPION, ModelRegistry

NIGHT_STEPS = tuple(STEPS)[: tuple(STEPS).index("promote") + 1]
TINY: dict[str, dict[str, Any]] = {
    "simulator": {
        "users": 40,
        "videos": 14,
        "history_days": 3,
        "new_users_per_day": 2,
        "new_videos_per_day": 2,
        "outage_night": 0,
    },
    "embed": {"visual": "landed", "text": "landed", "audio": "landed"},
    "check": {"min_rows": 20, "max_reject_rate_per_reason": 0.9, "max_reject_rate": 0.9},
    "align": {"epochs": 2},
    "train": {"epochs": 2},
    # Nearly every challenger becomes the champion, so that `promote` moves it.
    "gate": {"min_users": 5, "min_gain": -1.0, "max_slice_loss": 1.0, "max_calibration_error": 1.0},
}
DISK_MIB = 1024
ALWAYS_POSSIBLE = {"kill", "file limit", "twice"}  # in each step, on each machine


@dataclass(frozen=True)
class Platform:
    """The nights to run.

    Attributes:
        nights: oldest first.
        steps: the steps of each night, in order.
        params: the parameter file of the steps.
        prepare: puts into an empty home what the steps read.
        servers: the servers that the steps use. None: they use local files only.
    """

    nights: Sequence[date]
    steps: Sequence[str]
    params: Path
    prepare: Callable[[Path], None]
    servers: Servers | None = None

    def new_home(self, home: Path) -> Path:
        """Make a home with what the steps read. This process and its steps work in it from now on."""
        home.mkdir(parents=True)
        for variable in ("UNDERCURRENT_LANDING", "MLFLOW_TRACKING_URI"):
            os.environ.pop(variable, None)
        os.environ["UNDERCURRENT_HOME"] = str(home)
        if self.servers:
            os.environ |= self.servers.variables_of(home.name)
        self.prepare(home)
        return home

    def steps_in(self, home: Path) -> list[Step]:
        """Return all steps of all nights, in order."""
        return [Step(name, night, home, self.params) for night in self.nights for name in self.steps]


@dataclass(frozen=True)
class StepOutcome:
    """What a step left.

    Attributes:
        digests: the digests of its run manifest.
        tables: the tables of the lake, with the rows up to the night.
        champion: digest of the champion's bundle. Empty: there is none.
    """

    digests: dict[str, str]
    tables: Tables
    champion: str


@dataclass(frozen=True)
class UndisturbedStep:
    """A step without a fault.

    Attributes:
        outcome: what it left.
        seconds: its time, from its start to its run manifest.
    """

    outcome: StepOutcome
    seconds: float


@dataclass
class FaultCounts:
    """What the faults of a kind did.

    Attributes:
        faults: how often a step was started with a fault.
        ended: how often the fault ended it. The other times it completed.
        unclear: how often it then gave no sentence as the reason. A killed step cannot.
        survived: after how many of the faults the repeated step left what an undisturbed run leaves.
        rows_lost: rows that were then missing.
        rows_added: rows that were then too many.
        half_promotions: how often the champion was neither the old nor the new one after the fault.
    """

    faults: int = 0
    ended: int = 0
    unclear: int = 0
    survived: int = 0
    rows_lost: int = 0
    rows_added: int = 0
    half_promotions: int = 0

    def add(
        self, ending: Ending, is_half_promoted: bool, expected: StepOutcome, actual: StepOutcome | None
    ) -> None:
        """Count a fault, and compare what the repeated step left with the undisturbed run.

        Args:
            ending: how the disturbed step ended.
            is_half_promoted: whether the champion was then neither the old nor the new one.
            expected: what an undisturbed step leaves.
            actual: what the repeated step left. None: it did not complete.
        """
        self.faults += 1
        self.ended += not ending.is_done
        self.unclear += not ending.has_reason
        self.survived += actual == expected
        self.half_promotions += is_half_promoted
        if actual is None:
            return
        for name in TABLES:
            self.rows_lost += (expected.tables[name] - actual.tables[name]).total()
            self.rows_added += (actual.tables[name] - expected.tables[name]).total()


def main() -> int:
    """Run the benchmark. Returns the exit code, which is 1 if a fault changed the result."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos.nights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--faults", type=int, default=22, help="how many (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no fault after that time")
    parser.add_argument("--nights", type=int, default=2, help="nights in a row (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults (default: %(default)s)")
    parser.add_argument("--servers", action="store_true", help="use PostgreSQL, S3 and MLflow's server")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=FAULTS, help="kinds of faults")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/chaos-nights.json")
    args = parser.parse_args()
    if not ALWAYS_POSSIBLE & set(args.only):
        parser.error(
            f"--only: name one of {sorted(ALWAYS_POSSIBLE)}, too; the others cannot disturb each step"
        )
    with _folder() as folder, ExitStack() as stack:
        servers = stack.enter_context(run_servers(folder / "servers")) if args.servers else None
        platform = simulate_platform(folder, args.nights, servers)
        until = time.monotonic() + 60 * args.minutes
        counts = run_faults(platform, folder / "disk", args.faults, args.seed, args.only, until)
    print(format_table(counts))
    figures = {"nights": args.nights, "seed": args.seed}
    by_fault = {name: asdict(fault_counts) for name, fault_counts in counts.items()}
    name = "chaos-nights-on-servers" if args.servers else "chaos-nights"
    publish_result(name, figures | by_fault, {}, args.keep)
    return DONE if all(c.survived == c.faults and not c.half_promotions for c in counts.values()) else 1


@contextmanager
def _folder() -> Iterator[Path]:
    """Make a folder for all files. Its part `disk` is a small disk, if this machine allows it."""
    with tempfile.TemporaryDirectory(prefix="undercurrent-chaos-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user if this user is root
        for part in ("servers", "disk"):
            (folder / part).mkdir()
        with small_disk(folder / "disk", DISK_MIB):
            yield folder


def simulate_platform(folder: Path, num_nights: int, servers: Servers | None = None) -> Platform:
    """Simulate the tiny platform in a folder."""
    overlay = {"base": str(PROJECT_ROOT / "params.yaml"), **TINY}
    overlay["simulator"] = TINY["simulator"] | {"nights": num_nights}
    params = folder / "params.yaml"
    params.write_text(yaml.safe_dump(overlay), encoding="utf-8")
    options = ("make", "--features", "--params", str(params), "--out", str(folder))
    subprocess.run([sys.executable, "-m", "simulator", *options], cwd=PROJECT_ROOT, check=True)
    days = sorted(path.name.removeprefix("dt=") for path in (folder / "landing" / "events").iterdir())
    nights = [parse_day(day) for day in days[-num_nights:]]
    return Platform(nights, NIGHT_STEPS, params, lambda home: _land(folder / "landing"), servers)


def _land(source: Path) -> None:
    """Copy landing files to the landing folder of the present home."""
    target = paths.landing()
    if isinstance(target, Path):
        shutil.copytree(source, target)
    else:
        target.fs.put(str(source), str(target), recursive=True)


def run_faults(
    platform: Platform,
    folder: Path,
    num_faults: int,
    seed: int,
    names: Collection[str] = FAULTS.keys(),
    until: float = math.inf,
) -> dict[str, FaultCounts]:
    """Disturb the steps of nights, and return the counts of each kind of fault.

    Args:
        platform: the nights.
        folder: where the homes are made.
        num_faults: how many faults.
        seed: seed of the faults.
        names: the kinds of faults.
        until: time of the monotonic clock after which no fault begins.
    """
    undisturbed = run_undisturbed(platform, folder / "undisturbed")
    draw, tries = random.Random(seed), Counter[tuple[str, str]]()
    counts = {name: FaultCounts() for name in FAULTS if name in names}
    steps: list[Step] = []
    for number in tqdm(range(num_faults), "chaos", unit="fault"):
        if time.monotonic() > until:
            break
        if not steps:
            steps, champion = platform.steps_in(platform.new_home(folder / f"disturbed-{number}")), ""
        step = steps.pop(0)
        expected = undisturbed[step.night, step.name]
        target = Target(step, expected.seconds, platform.nights, platform.servers, draw)
        name = draw_fault(target, names, tries)
        ending = FAULTS[name].disturb(target)
        is_half = is_half_promoted(step.name, champion, expected.outcome.champion)
        actual = repeat_step(step)
        counts[name].add(ending, is_half, expected.outcome, actual)
        tqdm.write(f"{step.night} {step.name}: {name}: exit code {ending.exit_code}: {ending.reason}")
        if actual != expected.outcome:
            tqdm.write(f"{step.night} {step.name}: {name}: the repeated step differs")
            steps = []  # later steps would differ, too
        champion = expected.outcome.champion or champion
    return counts


def run_undisturbed(platform: Platform, home: Path) -> dict[tuple[date, str], UndisturbedStep]:
    """Run all nights without a fault in a new home. Returns night and name of the step -> what it did."""
    undisturbed = {}
    for step in platform.steps_in(platform.new_home(home)):
        complete_step(step)
        undisturbed[step.night, step.name] = UndisturbedStep(read_outcome(step), step.seconds)
    return undisturbed


def draw_fault(target: Target, names: Collection[str], tries: Counter[tuple[str, str]]) -> str:
    """Draw a kind of fault among those that this step had least often, and count it.

    Of these it is one that all steps had least often, and then one that can disturb the fewest steps. So the
    first night draws each kind, as far as it has steps enough.

    Args:
        target: the step.
        names: the kinds of faults to choose from.
        tries: name of the step and of the fault -> how often it was drawn.
    """
    possible = [
        name
        for name, fault in FAULTS.items()
        if name in names and target.step.name in fault.steps and fault.is_possible(target)
    ]
    target.draw.shuffle(possible)
    in_all_steps = Counter(fault for (_, fault), times in tries.items() for _ in range(times))

    def order(name: str) -> tuple[int, int, int]:
        return tries[target.step.name, name], in_all_steps[name], len(FAULTS[name].steps)

    name = min(possible, key=order)
    tries[target.step.name, name] += 1
    return name


def is_half_promoted(step: str, before: str, after: str) -> bool:
    """Return whether a disturbed `promote` left a champion that is neither the old nor the new one.

    Args:
        step: the name of the step.
        before, after: digest of the champion's bundle before and after an undisturbed step.
    """
    return step == "promote" and read_champion() not in (before, after)


def repeat_step(step: Step) -> StepOutcome | None:
    """Run a step again, and return what it left. None: it did not complete."""
    ending = StepProcess(step).end()
    if ending.is_done:
        return read_outcome(step)
    tqdm.write(ending.messages)
    return None


def read_outcome(step: Step) -> StepOutcome:
    """Return what a step left in the present home."""
    return StepOutcome(
        step.digests, read_tables(step.night), read_champion() if step.name == "promote" else ""
    )


def read_champion() -> str:
    """Return the digest of the champion's bundle, or nothing if there is no champion.

    Raises:
        InputError: the champion is a version without a bundle.
    """
    champion = ModelRegistry().get_by_alias(CHAMPION)
    if champion and not champion.tags.get("bundle_digest"):
        raise InputError(f"version {champion.number} is the champion, but has no bundle; register it again")
    return champion.tags["bundle_digest"] if champion else ""


if __name__ == "__main__":
    sys.exit(main())
