"""The lock of a running `make up`: one per home. `make down` finds the process through it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core import locks, paths
from core.errors import InputError


@contextmanager
def hold() -> Iterator[None]:
    """Hold the lock, and write this process id into it. The kernel frees it when the process ends.

    Raises:
        InputError: Another `make up` of this home is running.
    """
    path = _path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a+", encoding="utf-8") as file:
        if not locks.try_file_lock(file):
            raise InputError(f"`make up` is running in {paths.home()}; end it with `make down`")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def holder() -> int | None:
    """Return the process id of the `make up` of this home. None: none runs."""
    try:
        with _path().open("r+", encoding="utf-8") as file:
            if locks.try_file_lock(file):
                return None
            return int(file.read() or 0) or None  # empty: it is starting
    except FileNotFoundError:
        return None


def _path() -> Path:
    return paths.home() / "profile" / "up.pid"
