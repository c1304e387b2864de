import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from random import Random

import pytest

from benchmarks.chaos import faults
from benchmarks.chaos.faults import FAULTS, Target, small_disk
from benchmarks.chaos.step_runs import Ending, Step, complete_step
from core import paths
from core.step_graph import STEPS
from tests.support.workspaces import sample_night

NIGHT = date(2026, 3, 12)
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="this machine has no C compiler")


def target_in(home: Path, name: str = "gate", seconds: float = 0.0) -> Target:
    """A step of an evaluated night in the present home. Faults strike at its start."""
    sample_night(home / str(NIGHT), NIGHT, champion=None)
    return Target(Step(name, NIGHT, home), seconds, [NIGHT], None, Random(1))


@pytest.fixture(scope="module")
def digests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of a step without a fault."""
    home = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERCURRENT_HOME", str(home))
        step = target_in(home).step
        complete_step(step)
        return step.digests


def test_a_killed_step_leaves_no_run_manifest(home: Path) -> None:
    target = target_in(home)
    ending = faults.kill_step(target)
    assert (ending.exit_code, ending.has_reason) == (-9, True)
    assert not (target.step.workspace / "run_manifests" / "gate.json").exists()


def test_a_full_disk_ends_a_step_with_one_sentence_and_a_retry_completes_it(
    digests: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "MAX_BITS", 0)
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, mib=16):
        if not disk.is_mount():
            pytest.skip("this machine allows no mounts")
        monkeypatch.setenv("UNDERCURRENT_HOME", str(disk / "home"))
        target = target_in(disk / "home")
        assert FAULTS["full disk"].is_possible(target)
        ending = faults.fill_disk(target)
        assert ending.reason.startswith("gate: failed: the disk is full ([Errno 28] No space left")
        complete_step(target.step)
        assert target.step.digests == digests
    assert not disk.is_mount()


def test_a_limit_of_file_sizes_ends_a_step(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "MAX_BITS", 6)
    assert "File too large" in faults.limit_files(target_in(home)).reason


def test_a_damaged_file_is_refused_and_withdrawn(home: Path) -> None:
    folder = paths.landing() / "events" / f"dt={NIGHT}"
    folder.mkdir(parents=True)
    ending = faults.poison_landing(target_in(home, "ingest"))
    assert (ending.exit_code, ending.has_reason) == (2, True)
    assert f"{folder}/poison." in ending.reason
    assert not list(folder.iterdir())


@needs_compiler
def test_the_clock_moves_as_soon_as_the_file_exists(tmp_path: Path) -> None:
    switch = tmp_path / "switch"
    variables = os.environ | faults.clock_settings(switch, faults.DAY)
    code = "import time, datetime; print(time.time(), datetime.datetime.now().timestamp())"

    def shifts() -> list[int]:
        now = time.time()
        times = subprocess.check_output([sys.executable, "-c", code], env=variables, text=True).split()
        return [round((float(text) - now) / faults.DAY) for text in times]

    assert shifts() == [0, 0]
    switch.touch()
    assert shifts() == [1, 1]


def test_a_step_that_is_started_twice_has_the_same_digest(home: Path, digests: dict[str, str]) -> None:
    target = target_in(home)
    assert faults.start_twice(target).is_done
    assert target.step.digests == digests


def test_the_worse_ending_of_two_runs_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endings = [Ending(0, ""), Ending(1, "Traceback"), Ending(2, "gate: refused: a sentence")]

    class EndedStep:
        def __init__(self, step: Step) -> None:
            self.end: Callable[[], Ending] = lambda: endings.pop(0)

        def run_for(self, seconds: float) -> bool:
            return False

    monkeypatch.setattr(faults, "StepProcess", EndedStep)
    target = target_in(home)
    assert faults.start_twice(target).exit_code == 1
    endings.append(Ending(0, ""))
    assert faults.start_twice(target).exit_code == 2


def test_every_fault_names_steps_of_the_graph() -> None:
    assert {step for fault in FAULTS.values() for step in fault.steps} == set(STEPS)


def test_faults_of_servers_need_servers(home: Path) -> None:
    possible = [name for name, fault in FAULTS.items() if fault.is_possible(target_in(home))]
    assert set(possible) - {"clock"} == {"kill", "jvm", "file limit", "poison", "twice"}
