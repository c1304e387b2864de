"""Several decoding processes, fed in order, with a time limit a file."""

import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from media.clip import Clip, Limits, Sampling, StoreUnavailable, Unreadable

WORKER = [sys.executable, "-m", "media.worker"]
START_SECONDS = 120
AHEAD = 12  # files per process decoded ahead, 50 MB each at most: decoding goes on while a batch is encoded


class Decoders:
    """Decoding processes that live as long as the `with` block.

    Args:
        landing: the folder that relative media uris start from.
        count: how many processes.
    """

    def __init__(self, landing: Path, sampling: Sampling, limits: Limits, count: int) -> None:
        self._setup, self._limits, self._count = (landing, sampling, limits), limits, count
        self._threads = ThreadPoolExecutor(count, "decoder")
        self._mine = threading.local()
        self._workers: list[_Worker] = []

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=kind is None, cancel_futures=True)
        for worker in self._workers:
            worker.stop()

    def decode(self, uris: Iterable[str]) -> Iterator[Clip | Unreadable]:
        """One outcome a uri, in their order; a few are decoded ahead while the caller works.

        Raises:
            StoreUnavailable: the media store does not answer.
        """
        waiting: deque[Future[Clip | Unreadable]] = deque()
        for uri in uris:
            waiting.append(self._threads.submit(self._decode, uri))
            if len(waiting) > self._count * AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _decode(self, uri: str) -> Clip | Unreadable:
        """Runs in a thread, which has a process of its own and starts another when that one is gone."""
        worker = getattr(self._mine, "worker", None)
        if worker is None or not worker.alive:
            worker = self._mine.worker = _Worker(self._setup)
            self._workers.append(worker)
        outcome = worker.decode(uri, self._limits.seconds)
        if isinstance(outcome, StoreUnavailable):
            raise outcome
        return outcome


class _Worker:
    """The parent's end of one decoding process."""

    def __init__(self, setup: tuple[Path, Sampling, Limits]) -> None:
        ours, theirs = socket.socketpair()
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # numpy's pools take address space
        with theirs:
            self._process = subprocess.Popen(
                [*WORKER, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=os.environ | threads
            )
        self._connection = Connection(ours.detach())
        self._connection.send(setup)
        if not self._connection.poll(START_SECONDS):
            self.stop()
            raise RuntimeError(f"the decoding process did not start within {START_SECONDS} s")
        self._connection.recv()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, uri: str, seconds: float) -> Clip | Unreadable | StoreUnavailable:
        """The outcome of one file; a process that crashes or takes too long is ended."""
        try:
            self._connection.send(uri)
            if self._connection.poll(seconds):
                return self._connection.recv()
        except (EOFError, OSError):
            self._process.wait()
            return Unreadable("decoder_crashed", f"its process ended with {self._process.returncode}")
        self.stop()
        return Unreadable("timed_out", f"not decoded within {seconds:g} s")

    def stop(self) -> None:
        """End the process now."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
