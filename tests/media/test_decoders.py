import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from media import decoders
from media.clip import Clip, Limits, Sampling, StoreUnavailable, Unreadable
from media.decoders import Decoders
from tests.media.files import write_video

SAMPLING = Sampling(5.0, 40, 1, 32, "squash", None)
LIMITS = Limits(60, 2 << 30)

WORKER = """
import os, sys, time
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
connection.recv()
connection.send("ready")
while True:
    uri = connection.recv()
    if uri == "crash":
        os.abort()
    if uri == "hang":
        time.sleep(600)
    connection.send(uri)
"""


@pytest.fixture
def own_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoding process that crashes or hangs on demand and otherwise gives the uri back."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER, encoding="utf-8")
    monkeypatch.setattr(decoders, "WORKER", [sys.executable, str(script)])


def test_outcomes_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    for number, seconds in enumerate((12, 1, 6, 1, 1, 1, 1)):
        write_video(tmp_path / f"{number}.mp4", seconds, hertz=None)
    uris = ["0.mp4", "1.mp4", "gone.mp4", "2.mp4", "3.mp4", "4.mp4", "5.mp4", "6.mp4"]
    with Decoders(tmp_path, SAMPLING, LIMITS, 2) as pool:
        found = [len(c.frames) if isinstance(c, Clip) else c.reason for c in pool.decode(uris)]
    assert found == [3, 1, "missing_media", 2, 1, 1, 1, 1]


@pytest.mark.usefixtures("own_worker")
def test_a_file_that_crashes_its_decoder_costs_itself_alone(tmp_path: Path) -> None:
    with Decoders(tmp_path, SAMPLING, LIMITS, 1) as pool:
        first, second, third = pool.decode(["a", "crash", "b"])
    assert (first, third) == ("a", "b")
    assert isinstance(second, Unreadable)
    assert (second.reason, second.detail) == ("decoder_crashed", "its process ended with -6")


@pytest.mark.usefixtures("own_worker")
def test_a_file_that_hangs_costs_its_time_limit(tmp_path: Path) -> None:
    started = time.monotonic()
    with Decoders(tmp_path, SAMPLING, Limits(0.5, 2 << 30), 1) as pool:
        first, second = pool.decode(["hang", "a"])
    assert isinstance(first, Unreadable)
    assert (first.reason, second) == ("timed_out", "a")
    assert time.monotonic() - started < 60


def test_a_file_that_needs_too_much_memory_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", hertz=None)
    huge = Sampling(5.0, 40, 1, 14_000, "squash", None)  # pictures of 588 MB
    with Decoders(tmp_path, huge, Limits(60, 1 << 29), 1) as pool:
        (outcome,) = pool.decode(["v.mp4"])
    assert isinstance(outcome, Unreadable)
    assert outcome.reason == "out_of_memory"


def test_a_store_that_is_away_stops_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with (
        Decoders(tmp_path, SAMPLING, LIMITS, 1) as pool,
        pytest.raises(StoreUnavailable, match="credentials"),
    ):
        list(pool.decode(["s3://bucket/v.mp4"]))


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    with Decoders(tmp_path, SAMPLING, LIMITS, 2) as pool:
        list(pool.decode(["a", "b", "c"]))
        pids = [worker._process.pid for worker in pool._workers]
    assert pids
    assert not any(running(pid) for pid in pids)


def test_the_processes_die_with_a_step_that_is_killed(tmp_path: Path) -> None:
    script = f"""
import time
from pathlib import Path
from media.clip import Limits, Sampling
from media.decoders import Decoders
pool = Decoders(Path({str(tmp_path)!r}), Sampling(5.0, 40, 1, 32, "squash", None), Limits(60, 2 << 30), 1)
list(pool.decode(["a"]))
print(pool._workers[0]._process.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert running(child)
    os.kill(child, signal.SIGSTOP)  # busy: it will not notice that nobody listens
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert soon(lambda: not running(child))


def running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def soon(true: Callable[[], bool], seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return true()
