import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from media import decoders
from media.clip import DecodedVideo, DecodeLimits, MediaStoreUnavailable, SamplingConfig, UnreadableMedia
from media.decoders import DecoderPool
from tests.support.media_files import write_video

SAMPLING = SamplingConfig(5.0, 40, 1, 32, "squash", None)
LIMITS = DecodeLimits(60, 2 << 30)

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
def fake_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoding process that crashes or hangs on demand, and otherwise returns the URI."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER, encoding="utf-8")
    monkeypatch.setattr(decoders, "WORKER", [sys.executable, str(script)])


def test_outcomes_are_in_the_order_of_the_files(tmp_path: Path) -> None:
    for number, seconds in enumerate((12, 1, 6, 1, 1, 1, 1)):
        write_video(tmp_path / f"{number}.mp4", seconds, hertz=None)
    uris = ["0.mp4", "1.mp4", "gone.mp4", "2.mp4", "3.mp4", "4.mp4", "5.mp4", "6.mp4"]
    with DecoderPool(tmp_path, SAMPLING, LIMITS, 2) as pool:
        outcomes = [len(c.frames) if isinstance(c, DecodedVideo) else c.reason for c in pool.decode(uris)]
    assert outcomes == [3, 1, "missing_media", 2, 1, 1, 1, 1]


@pytest.mark.usefixtures("fake_worker")
def test_a_crash_of_the_decoder_rejects_one_file(tmp_path: Path) -> None:
    with DecoderPool(tmp_path, SAMPLING, LIMITS, 1) as pool:
        first, second, third = pool.decode(["a", "crash", "b"])
    assert (first, third) == ("a", "b")
    assert isinstance(second, UnreadableMedia)
    assert second.reason == "decoder_crashed"
    assert second.detail == "the decoding process ended with exit code -6"


@pytest.mark.usefixtures("fake_worker")
def test_a_hanging_decoder_is_stopped_at_the_time_limit(tmp_path: Path) -> None:
    started = time.monotonic()
    with DecoderPool(tmp_path, SAMPLING, DecodeLimits(0.5, 2 << 30), 1) as pool:
        first, second = pool.decode(["hang", "a"])
    assert isinstance(first, UnreadableMedia)
    assert (first.reason, second) == ("decode_timeout", "a")
    assert time.monotonic() - started < 60


def test_a_file_that_needs_too_much_memory_is_rejected(tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", hertz=None)
    huge = SamplingConfig(5.0, 40, 1, 14_000, "squash", None)  # images of 588 MB
    with DecoderPool(tmp_path, huge, DecodeLimits(60, 1 << 29), 1) as pool:
        (outcome,) = pool.decode(["v.mp4"])
    assert isinstance(outcome, UnreadableMedia)
    assert outcome.reason == "out_of_memory"


def test_an_unavailable_store_stops_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with (
        DecoderPool(tmp_path, SAMPLING, LIMITS, 1) as pool,
        pytest.raises(MediaStoreUnavailable, match="credentials"),
    ):
        list(pool.decode(["s3://bucket/v.mp4"]))


def test_closing_the_pool_ends_its_processes(tmp_path: Path) -> None:
    with DecoderPool(tmp_path, SAMPLING, LIMITS, 2) as pool:
        list(pool.decode(["a", "b", "c"]))
        pids = [worker._process.pid for worker in pool._workers]
    assert pids
    assert not any(is_running(pid) for pid in pids)


def test_worker_processes_end_with_a_killed_step(tmp_path: Path) -> None:
    script = f"""
import time
from pathlib import Path
from media.clip import DecodeLimits, SamplingConfig
from media.decoders import DecoderPool
sampling = SamplingConfig(5.0, 40, 1, 32, "squash", None)
pool = DecoderPool(Path({str(tmp_path)!r}), sampling, DecodeLimits(60, 2 << 30), 1)
list(pool.decode(["a"]))
print(pool._workers[0]._process.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    os.kill(child, signal.SIGSTOP)  # busy: it cannot notice that the parent is gone
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert eventually(lambda: not is_running(child))


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()
