"""The lock of the Airflow of a home. `make up`, `make demo` and `make backfill` hold it while theirs runs.

Two schedulers on one database would run each task twice. `make demo` holds the lock from before it
empties the home to its end. `make down` finds the process through the lock.
"""

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
        InputError: Another process holds it.
    """
    path = lock_file(paths.unchecked_home())  # `make down` ends the servers of a moved home, too
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a+", encoding="utf-8") as file:
        if not locks.try_file_lock(file):
            raise _in_use()
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def require_free() -> None:
    """Check that no process holds the lock. No file is written.

    Raises:
        InputError: a process holds it.
    """
    if holder() is not None:
        raise _in_use()


def _in_use() -> InputError:
    return InputError(
        f"Airflow is already starting or running in {paths.unchecked_home()}; end it with `make down`"
    )


def holder() -> int | None:
    """Return the process id that holds the lock of this home. None: it is free."""
    try:
        with lock_file(paths.unchecked_home()).open("r+", encoding="utf-8") as file:
            if locks.try_file_lock(file):
                return None
            return int(file.read() or 0) or None  # empty: it is starting
    except FileNotFoundError:
        return None


def lock_file(home: Path) -> Path:
    """Return the file that is locked. While it is, it must not be deleted: a new file would be free."""
    return home / "profile" / "up.pid"
