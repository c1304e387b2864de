"""Disturb each step of whole nights, repeat it, and compare digests, tables and champion.

The nights are those of a tiny simulated platform with ready-made vectors, from ingest to promote. Each step
runs in a process of its own and is disturbed once, at random:

kill     It is killed (SIGKILL) at a random moment. In `train` that is the trainer.
disk     It cannot write more than some bytes to a file, as if the disk were full.
poison   A damaged landing file arrives before `ingest`, and is removed after it.

Then the step runs again. Its digests, all tables and the champion must be those of an undisturbed run. Before
that, the champion must be the old or the new one. If faults are left after the last night, the nights begin
again in a new home. The last line is the JSON result.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from benchmarks.chaos.lake import TABLES, Tables, format_table, read_tables, run_step
from benchmarks.result import publish_result
from core.errors import DONE, InputError
from core.paths import PROJECT_ROOT, parse_day
from core.run_manifests import read_manifest
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
MAX_LIMIT_BITS = 20  # of `disk`: up to 1 MiB


@dataclass(frozen=True)
class Platform:
    """The nights to run.

    Attributes:
        nights: oldest first.
        steps: the steps of each night, in order.
        params: the parameter file of the steps.
        prepare: puts into an empty home what the steps read.
    """

    nights: Sequence[date]
    steps: Sequence[str]
    params: Path
    prepare: Callable[[Path], None]


@dataclass(frozen=True)
class StepOutcome:
    """What a step left.

    Attributes:
        digests: the digests of its run manifest.
        tables: the tables of the lake.
        champion: digest of the champion's bundle. Empty: there is none.
    """

    digests: dict[str, str]
    tables: Tables
    champion: str


@dataclass
class UndisturbedNights:
    """Nights without a fault.

    Attributes:
        outcomes: night and step -> what it left.
        seconds: night and step -> its time, from its start to its run manifest.
    """

    outcomes: dict[tuple[date, str], StepOutcome] = field(default_factory=dict)
    seconds: dict[tuple[date, str], float] = field(default_factory=dict)


@dataclass
class FaultCounts:
    """What the faults of a step did.

    Attributes:
        faults: how often the step was started with a fault.
        in_time: how often the fault ended it. The other times it had already done its work.
        survived: after how many of the faults the repeated step left what an undisturbed run leaves.
        rows_lost: rows that were then missing.
        rows_added: rows that were then too many.
        half_promotions: how often the champion was neither the old nor the new one after the fault.
    """

    faults: int = 0
    in_time: int = 0
    survived: int = 0
    rows_lost: int = 0
    rows_added: int = 0
    half_promotions: int = 0

    def add(self, in_time: bool, is_half_promoted: bool, expected: StepOutcome, actual: StepOutcome) -> None:
        """Count a fault, and compare what the repeated step left with the undisturbed run."""
        self.faults += 1
        self.in_time += in_time
        self.survived += actual == expected
        self.half_promotions += is_half_promoted
        for name in TABLES:
            self.rows_lost += (expected.tables[name] - actual.tables[name]).total()
            self.rows_added += (actual.tables[name] - expected.tables[name]).total()


def main() -> int:
    """Run the benchmark. Returns the exit code, which is 1 if a fault changed the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos.nights", description=__doc__)
    parser.add_argument("--faults", type=int, default=22, help="how many (default: %(default)s)")
    parser.add_argument("--nights", type=int, default=2, help="nights in a row (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/chaos-nights.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="undercurrent-chaos-") as folder:
        counts = run_faults(
            simulate_platform(Path(folder), args.nights), Path(folder), args.faults, args.seed
        )
    print(format_table(counts))
    figures = {"nights": args.nights, "seed": args.seed}
    by_step = {step: asdict(step_counts) for step, step_counts in counts.items()}
    publish_result("chaos-nights", figures | by_step, {}, args.keep)
    return DONE if all(c.survived == c.faults and not c.half_promotions for c in counts.values()) else 1


def simulate_platform(folder: Path, num_nights: int) -> Platform:
    """Simulate the tiny platform in a folder."""
    overlay = {"base": str(PROJECT_ROOT / "params.yaml"), **TINY}
    overlay["simulator"] = TINY["simulator"] | {"nights": num_nights}
    params = folder / "params.yaml"
    params.write_text(yaml.safe_dump(overlay), encoding="utf-8")
    options = ("make", "--features", "--params", str(params), "--out", str(folder))
    subprocess.run([sys.executable, "-m", "simulator", *options], cwd=PROJECT_ROOT, check=True)
    days = sorted(path.name.removeprefix("dt=") for path in (folder / "landing" / "events").iterdir())
    nights = [parse_day(day) for day in days[-num_nights:]]
    return Platform(
        nights, NIGHT_STEPS, params, lambda home: _copy_folder(folder / "landing", home / "landing")
    )


def _copy_folder(source: Path, target: Path) -> None:
    shutil.copytree(source, target)


def run_faults(platform: Platform, folder: Path, num_faults: int, seed: int) -> dict[str, FaultCounts]:
    """Disturb the steps of nights, and return the counts of each step.

    Args:
        platform: the nights.
        folder: where the homes are made.
        num_faults: how many faults.
        seed: seed of the faults.
    """
    undisturbed = run_undisturbed(platform, folder / "undisturbed")
    draw, counts = random.Random(seed), {step: FaultCounts() for step in platform.steps}
    steps, champion = list(undisturbed.outcomes), ""
    for number in tqdm(range(num_faults), "chaos", unit="fault"):
        night, step = steps[number % len(steps)]
        if number % len(steps) == 0:
            home, champion = _new_home(platform, folder / f"disturbed-{number // len(steps)}"), ""
        expected = undisturbed.outcomes[night, step]
        in_time = disturb_step(platform, step, night, home, undisturbed.seconds[night, step], draw)
        is_half_promoted = step == "promote" and read_champion() not in (champion, expected.champion)
        run_step(step, night, home, params=platform.params)
        actual = read_outcome(step, night, home)
        counts[step].add(in_time, is_half_promoted, expected, actual)
        champion = actual.champion or champion
    return counts


def run_undisturbed(platform: Platform, home: Path) -> UndisturbedNights:
    """Run all nights without a fault in a new home."""
    run, home = UndisturbedNights(), _new_home(platform, home)
    for night in platform.nights:
        for step in platform.steps:
            run_step(step, night, home, params=platform.params)
            run.outcomes[night, step] = read_outcome(step, night, home)
            run.seconds[night, step] = read_manifest(home / str(night) / "run_manifests", step)["seconds"]
    return run


def disturb_step(
    platform: Platform, step: str, night: date, home: Path, seconds: float, draw: random.Random
) -> bool:
    """Run a step with a random fault, and return whether the fault ended it.

    Args:
        platform: the nights.
        step: the step.
        night: the night.
        home: UNDERCURRENT_HOME.
        seconds: time of the undisturbed step.
        draw: source of the kind of the fault and of its moment.
    """
    kind = draw.choice(("kill", "disk", "poison") if step == "ingest" else ("kill", "disk"))
    if kind == "kill":
        moment = draw.uniform(0, seconds)
        return run_step(step, night, home, moment, platform.params)
    poison = home / "landing" / "events" / f"dt={night}" / "poison.parquet"
    if kind == "poison":
        poison.write_bytes(b"PAR1" + draw.randbytes(64))
    max_file_bytes = 2 ** draw.randrange(MAX_LIMIT_BITS) if kind == "disk" else None
    try:
        run_step(step, night, home, params=platform.params, max_file_bytes=max_file_bytes)
    except subprocess.CalledProcessError:
        return True
    finally:
        poison.unlink(missing_ok=True)
    return False


def read_outcome(step: str, night: date, home: Path) -> StepOutcome:
    """Return what a step left in the present home."""
    digests = read_manifest(home / str(night) / "run_manifests", step)["digests"]
    return StepOutcome(digests, read_tables(), read_champion() if step == "promote" else "")


def read_champion() -> str:
    """Return the digest of the champion's bundle, or nothing if there is no champion.

    Raises:
        InputError: the champion is a version without a bundle.
    """
    champion = ModelRegistry().get_by_alias(CHAMPION)
    if champion and not champion.tags.get("bundle_digest"):
        raise InputError(f"version {champion.number} is the champion, but has no bundle; register it again")
    return champion.tags["bundle_digest"] if champion else ""


def _new_home(platform: Platform, home: Path) -> Path:
    """Make a home with what the steps read. This process and its steps work in it from now on."""
    home.mkdir(parents=True)
    platform.prepare(home)
    os.environ["UNDERCURRENT_HOME"] = str(home)
    for variable in ("UNDERCURRENT_LANDING", "MLFLOW_TRACKING_URI"):
        os.environ.pop(variable, None)
    return home


if __name__ == "__main__":
    sys.exit(main())
