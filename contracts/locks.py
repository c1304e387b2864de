"""One writer at a time, on one machine."""

import fcntl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

QUIET_SECONDS = 2.0


@contextmanager
def alone(path: Path, what: str) -> Iterator[IO[str]]:
    """Hold the lock of a file, which is made when missing; whoever comes later waits.

    The kernel releases it when its holder ends, however it ends. Who waits for long says so.

    Args:
        what: is done alone, for whoever waits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        until = time.monotonic() + QUIET_SECONDS
        while not _taken(lock):
            if time.monotonic() > until:
                print(f"another process is at {what}; waiting for it ({path})", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
                break
            time.sleep(0.02)
        yield lock


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
