"""The faults that disturb a step. Each runs the step once, disturbs it, and removes the fault again."""

import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import psutil

from benchmarks.chaos.servers import MLFLOW, NETWORK, POSTGRES, S3, Servers
from benchmarks.chaos.step_runs import Ending, Step, StepProcess
from core import paths
from core.step_graph import STEPS

SPARK_STEPS = ("ingest", "clean", "check", "sequences")
MLFLOW_STEPS = ("snapshot", "train", "promote")
SERVER_STEPS = ("ingest", "clean", "embed", "check", "sequences", *MLFLOW_STEPS)
CLOCK_SOURCE = Path(__file__).with_name("moved_clock.c")
HOUR, DAY = 3600, 86_400  # seconds
MAX_BITS = 20  # a disk has at most 1 MiB left
JVM_SECONDS = 5.0  # from the start of a JVM to the end of most steps on it
OUTAGE_SECONDS = 20.0  # after which a server starts again although the step still runs
STALL_SECONDS = 8.0


@dataclass(frozen=True)
class Target:
    """The step to disturb.

    Attributes:
        step: the step.
        seconds: its time without a fault.
        nights: all nights, oldest first.
        servers: the servers that it uses. None: it uses local files only.
        draw: source of all random choices.
    """

    step: Step
    seconds: float
    nights: Sequence[date]
    servers: Servers | None
    draw: Random

    def moment(self) -> float:
        """Draw a moment of the step, in seconds from its start."""
        return self.draw.uniform(0, self.seconds)

    def bytes_left(self) -> int:
        """Draw how many bytes can be written until the disk is full."""
        return int(2 ** self.draw.uniform(0, MAX_BITS))


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        disturb: runs the step with the fault, and returns how it ended.
        steps: names of the steps that it can disturb.
        is_possible: whether machine and set-up allow it.
    """

    disturb: Callable[[Target], Ending]
    steps: Collection[str] = tuple(STEPS)
    is_possible: Callable[[Target], bool] = lambda target: True


def kill_step(target: Target) -> Ending:
    """Kill the step. In `train` that is the trainer."""
    process = StepProcess(target.step)
    if process.run_for(target.moment()):
        process.kill()
    return process.end()


def kill_jvm(target: Target) -> Ending:
    """Run the step on Spark, and kill Spark's JVM."""
    process = StepProcess(target.step, module=("benchmarks.chaos.spark_step", target.step.name))
    if jvm := process.find_child("org.apache.spark.deploy.SparkSubmit"):
        process.run_for(target.draw.uniform(0, JVM_SECONDS))
        with suppress(psutil.NoSuchProcess):  # it ends with its step
            jvm.kill()
    return process.end()


def limit_files(target: Target) -> Ending:
    """Let every file take a limited number of bytes."""
    return StepProcess(target.step, prefix=("prlimit", f"--fsize={target.bytes_left()}")).end()


def fill_disk(target: Target) -> Ending:
    """Fill the disk that holds the home, except for some bytes."""
    ballast = target.step.home.parent / "ballast"
    num_bytes = shutil.disk_usage(ballast.parent).free - target.bytes_left()
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(num_bytes, 1))
    ending = StepProcess(target.step).end()
    ballast.unlink()
    return ending


def poison_landing(target: Target) -> Ending:
    """Deliver a damaged file, and withdraw it after the step."""
    name, content = target.draw.choice(
        [
            ("poison.parquet", b"PAR1" + target.draw.randbytes(64)),
            ("poison.jsonl.gz", b"\x1f\x8b\x08" + target.draw.randbytes(64)),
            ("poison.jsonl", target.draw.randbytes(64) + b'\n{"event_id": [1, 2\n'),
        ]
    )
    poison = paths.landing() / "events" / f"dt={target.step.night}" / name
    poison.write_bytes(content)
    ending = StepProcess(target.step).end()
    poison.unlink()
    return ending


def move_clock(target: Target) -> Ending:
    """Move the clock forwards or backwards."""
    seconds = target.draw.choice([-400 * DAY, -DAY, -HOUR, HOUR, DAY, 400 * DAY])
    with TemporaryDirectory() as folder:
        switch = Path(folder, "moved")
        process = StepProcess(target.step, variables=clock_settings(switch, seconds))
        process.run_for(target.moment())
        switch.touch()
        return process.end()


def clock_settings(switch: Path, seconds: int) -> dict[str, str]:
    """Compile the library that moves the clock of a process, and return the settings of that process.

    Args:
        switch: the clock moves as soon as this file exists. The library is written to its folder.
        seconds: how far it moves.
    """
    library = switch.with_name("moved_clock.so")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(CLOCK_SOURCE)], check=True)
    return {
        "LD_PRELOAD": str(library),
        "CHAOS_CLOCK_FILE": str(switch),
        "CHAOS_CLOCK_SECONDS": str(seconds),
    }


def stop_server(target: Target, name: str) -> Ending:
    """Stop a server, and start it again at the end of the step, or after `OUTAGE_SECONDS`."""
    assert target.servers is not None  # the faults of servers are possible only with them
    server = target.servers.by_name[name]
    process = StepProcess(target.step)
    process.run_for(target.moment())
    server.stop()
    process.run_for(OUTAGE_SECONDS)
    server.start()
    return process.end()


def stall_network(target: Target) -> Ending:
    """Let the network to S3 transport nothing for `STALL_SECONDS`."""
    assert target.servers is not None
    network = target.servers.by_name[NETWORK]
    process = StepProcess(target.step)
    process.run_for(target.moment())
    network.stall()
    process.run_for(STALL_SECONDS)
    network.resume()
    return process.end()


def overlap_nights(target: Target) -> Ending:
    """Run another night at the same time: `ingest` of the next one, or this step of the last one."""
    night, step = target.step.night, target.step
    others = [replace(step, night=day) for day in target.nights if day < night][-1:]
    others += [replace(step, night=day, name="ingest") for day in target.nights if day > night][:1]
    return _run_both(step, target.draw.choice(others), target)


def start_twice(target: Target) -> Ending:
    """Start the same step of the same night twice."""
    return _run_both(target.step, target.step, target)


def _run_both(step: Step, other: Step, target: Target) -> Ending:
    """Run two steps of which the second starts at a random moment. Return how the worse of them ended."""
    first, second = target.draw.sample([step, other], 2)
    processes = [StepProcess(first)]
    processes[0].run_for(target.moment())
    processes.append(StepProcess(second))
    return max((process.end() for process in processes), key=lambda e: (not e.has_reason, not e.is_done))


def _has_small_disk(target: Target) -> bool:
    return target.step.home.parent.is_mount()


def _has_compiler(target: Target) -> bool:
    return shutil.which("cc") is not None


def _has_servers(target: Target) -> bool:
    return target.servers is not None


def _has_other_nights(target: Target) -> bool:
    return len(target.nights) > 1


FAULTS = {
    "kill": Fault(kill_step),
    "jvm": Fault(kill_jvm, SPARK_STEPS),
    "file limit": Fault(limit_files),
    "full disk": Fault(fill_disk, is_possible=_has_small_disk),
    "poison": Fault(poison_landing, ("ingest",)),
    "clock": Fault(move_clock, is_possible=_has_compiler),
    "overlap": Fault(overlap_nights, is_possible=_has_other_nights),
    "twice": Fault(start_twice),
    "postgres": Fault(partial(stop_server, name=POSTGRES), SERVER_STEPS, _has_servers),
    "s3": Fault(partial(stop_server, name=S3), SERVER_STEPS, _has_servers),
    "mlflow": Fault(partial(stop_server, name=MLFLOW), MLFLOW_STEPS, _has_servers),
    "broken network": Fault(partial(stop_server, name=NETWORK), SERVER_STEPS, _has_servers),
    "stalled network": Fault(stall_network, SERVER_STEPS, _has_servers),
}


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[None]:
    """Make a folder a disk of its own, which can be filled. If this machine refuses, it stays a folder.

    Args:
        folder: an empty folder.
        mib: size of the disk in MiB. It is in memory.
    """
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=755", "tmpfs", str(folder)]
    is_mounted = subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
