"""A pool of decoding processes with a time limit for each file."""

import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from core.storage import StoragePath
from media.clip import DecodedVideo, DecodeLimits, MediaStoreUnavailable, SamplingConfig, UnreadableMedia

WORKER = [sys.executable, "-m", "media.worker"]
START_SECONDS = 120
# Files that each process decodes ahead, at most 50 MB each. So decoding goes on while a batch is encoded.
PREFETCH_PER_PROCESS = 12


class DecoderPool:
    """Decoding processes that run until the end of the `with` block.

    Args:
        landing: the folder of relative media URIs, local or on S3.
        sampling: the content to decode.
        limits: limits of each file.
        num_processes: number of processes.
        roots: further local folders that may hold media.
    """

    def __init__(
        self,
        landing: StoragePath,
        sampling: SamplingConfig,
        limits: DecodeLimits,
        num_processes: int,
        roots: Sequence[Path] = (),
    ) -> None:
        self._worker_setup = (landing, roots, sampling, limits)
        self._limits, self._num_processes = limits, num_processes
        self._threads = ThreadPoolExecutor(num_processes, "decoder")
        self._thread_local = threading.local()
        self._workers: list[_WorkerProcess] = []

    def __enter__(self) -> "DecoderPool":
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=error_type is None, cancel_futures=True)
        for worker in self._workers:
            worker.stop()

    def decode(self, uris: Iterable[str]) -> Iterator[DecodedVideo | UnreadableMedia]:
        """Decode files in order. The next files are decoded ahead while the caller works.

        Args:
            uris: media URIs, as in the catalogue.

        Yields:
            The decoded video, or why it cannot be read, for each URI.

        Raises:
            MediaStoreUnavailable: the media store does not answer.
        """
        pending: deque[Future[DecodedVideo | UnreadableMedia]] = deque()
        for uri in uris:
            pending.append(self._threads.submit(self._decode, uri))
            if len(pending) > self._num_processes * PREFETCH_PER_PROCESS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _decode(self, uri: str) -> DecodedVideo | UnreadableMedia:
        """Decode one file in this thread's process, which is started again after it ended."""
        worker = getattr(self._thread_local, "worker", None)
        if worker is None or not worker.alive:
            worker = self._thread_local.worker = _WorkerProcess(self._worker_setup)
            self._workers.append(worker)
        outcome = worker.decode(uri, self._limits.timeout_seconds)
        if isinstance(outcome, MediaStoreUnavailable):
            raise outcome
        return outcome


class _WorkerProcess:
    """The parent's end of one decoding process."""

    def __init__(self, setup: tuple[StoragePath, Sequence[Path], SamplingConfig, DecodeLimits]) -> None:
        parent_socket, child_socket = socket.socketpair()
        # The thread pools of numpy would take address space.
        thread_limits = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with child_socket:
            self._process = subprocess.Popen(
                [*WORKER, str(child_socket.fileno())],
                pass_fds=[child_socket.fileno()],
                env=os.environ | thread_limits,
            )
        self._connection = Connection(parent_socket.detach())
        self._connection.send(setup)
        if not self._connection.poll(START_SECONDS):
            self.stop()
            raise RuntimeError(f"the decoding process did not start within {START_SECONDS} s")
        self._connection.recv()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def decode(
        self, uri: str, timeout_seconds: float
    ) -> DecodedVideo | UnreadableMedia | MediaStoreUnavailable:
        """Decode one file. The process is ended if it crashes or takes too long."""
        try:
            self._connection.send(uri)
            if self._connection.poll(timeout_seconds):
                return self._connection.recv()
        except (EOFError, OSError):
            self._process.wait()
            return UnreadableMedia(
                "decoder_crashed", f"the decoding process ended with exit code {self._process.returncode}"
            )
        self.stop()
        return UnreadableMedia("decode_timeout", f"decoding did not end within {timeout_seconds:g} s")

    def stop(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
