"""File locks: one process at a time on one machine."""

import fcntl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

WAIT_NOTICE_SECONDS = 2.0


@contextmanager
def file_lock(path: Path, purpose: str) -> Iterator[IO[str]]:
    """Hold the lock of a file. Other processes wait for it.

    The file is created if it is missing. The kernel releases the lock when its process ends, even after a
    crash. A process that waits for more than `WAIT_NOTICE_SECONDS` prints a notice.

    Args:
        path: the lock file.
        purpose: what the lock protects, for the notice.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        notice_time = time.monotonic() + WAIT_NOTICE_SECONDS
        while not _try_lock(lock):
            if time.monotonic() > notice_time:
                print(f"another process is busy with {purpose}; waiting for it ({path})", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
                break
            time.sleep(0.02)
        yield lock


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
