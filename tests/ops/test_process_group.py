import os
import signal
import subprocess
import sys
from pathlib import Path

from core.paths import PROJECT_ROOT
from ops import process_group
from tests.support.processes import eventually, is_alive

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); "


def test_a_child_dies_when_its_parent_is_killed() -> None:
    start = (
        "import os, subprocess, sys; from ops import process_group; "
        f"c = process_group.start([sys.executable, '-c', {SLEEP!r}], '.', os.environ, subprocess.DEVNULL); "
        "print(c.pid, flush=True); c.wait()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", start], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    assert eventually(lambda: not is_alive(pid))


def test_stop_kills_grandchildren_that_ignore_sigterm() -> None:
    grandchild = STUBBORN + "time.sleep(60)"
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {grandchild!r}]); p.wait()"
    process = process_group.start([sys.executable, "-c", code], PROJECT_ROOT, os.environ, subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    members = [
        int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _process_group(p) == process.pid
    ]
    assert len(members) == 2
    process_group.stop(process, timeout=0.5)
    assert eventually(lambda: not any(map(is_alive, members)))


def test_arguments_are_passed_unchanged() -> None:
    odd = "$(touch x); `id` && 'quoted' *"
    process = process_group.start(
        [sys.executable, "-c", "import sys; print(sys.argv[1])", odd],
        PROJECT_ROOT,
        os.environ,
        subprocess.PIPE,
    )
    assert process.communicate()[0] == f"{odd}\n"


def _process_group(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[2])
    except (FileNotFoundError, ProcessLookupError):
        return 0
