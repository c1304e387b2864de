import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from contracts.place import PROJECT
from ops import child

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); "


def soon(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.05)
    return False


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_dies_when_its_parent_is_killed() -> None:
    start = (
        "import os, subprocess, sys; from ops import child; "
        f"c = child.start([sys.executable, '-c', {SLEEP!r}], '.', os.environ, subprocess.DEVNULL); "
        "print(c.pid, flush=True); c.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", start], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    assert soon(lambda: not alive(pid))


def test_stop_ends_what_the_child_started_even_if_it_ignores_the_request() -> None:
    grandchild = STUBBORN + "time.sleep(60)"
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {grandchild!r}]); p.wait()"
    one = child.start([sys.executable, "-c", code], PROJECT, os.environ, subprocess.PIPE)
    assert one.stdout is not None
    assert one.stdout.readline() == "up\n"
    members = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _group(p) == one.pid]
    assert len(members) == 2
    child.stop(one, patience=0.5)
    assert soon(lambda: not any(map(alive, members)))


def test_arguments_reach_the_child_as_they_are() -> None:
    odd = "$(touch x); `id` && 'quoted' *"
    one = child.start(
        [sys.executable, "-c", "import sys; print(sys.argv[1])", odd], PROJECT, os.environ, subprocess.PIPE
    )
    assert one.communicate()[0] == f"{odd}\n"


def _group(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[2])
    except (FileNotFoundError, ProcessLookupError):
        return 0
