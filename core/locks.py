"""Locks: one process at a time, on one machine or on all machines that share a database.

A lock is a file lock. If the project has a PostgreSQL database (`core.paths.lock_database`), it is also an
advisory lock there. The file lock comes first, because child processes can inherit it.
"""

import fcntl
import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

from core import paths
from core.errors import ServiceUnavailableError

WAIT_NOTICE_SECONDS = 2.0
FILE_POLL_SECONDS, DATABASE_POLL_SECONDS = 0.02, 0.2
# The server ends the session, and so the lock, of a machine that is gone for about a minute.
KEEPALIVE = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"


@contextmanager
def exclusive_lock(path: Path, purpose: str) -> Iterator[IO[str]]:
    """Hold a lock that one process at a time can hold. Other processes wait for it.

    The lock ends with its process, even after a crash. A process that waits for more than
    `WAIT_NOTICE_SECONDS` prints a notice.

    Args:
        path: The lock file. It is created if it is missing.
        purpose: What the lock protects. It names the lock in the database and in the notice.

    Yields:
        The locked file.

    Raises:
        ServiceUnavailableError: The database cannot be reached.
    """
    database = paths.lock_database()
    with file_lock(path, purpose) as lock, _database_lock(database, purpose) if database else nullcontext():
        yield lock


@contextmanager
def file_lock(path: Path, purpose: str) -> Iterator[IO[str]]:
    """Hold a lock for the processes that see its file. Else it is like `exclusive_lock`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        _wait(lambda: try_file_lock(lock), f"{purpose}; waiting for it ({path})", FILE_POLL_SECONDS)
        yield lock


def try_file_lock(lock: IO[str]) -> bool:
    """Lock an open file until it is closed, unless another process has locked it. Return whether it did."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _database_lock(database: str, purpose: str) -> Iterator[None]:
    """Hold an advisory lock of PostgreSQL as long as the connection is open."""
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    key = int.from_bytes(hashlib.sha256(f"undercurrent {purpose}".encode()).digest()[:8], signed=True)
    statement = sqlalchemy.text("SELECT pg_try_advisory_lock(:key)")
    engine = sqlalchemy.create_engine(database, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        connection = engine.connect()
    except sqlalchemy.exc.SQLAlchemyError as error:
        address = paths.redact_credentials(database)
        reason = paths.redact_credentials((str(error.__cause__ or error).splitlines() or [""])[0])
        raise ServiceUnavailableError(
            f"the lock database {address} cannot be reached ({reason}); start it, or correct"
            " UNDERCURRENT_CATALOG_URI or UNDERCURRENT_LOCK_DATABASE"
        ) from None
    with connection:
        connection.execute(sqlalchemy.text(KEEPALIVE))
        _wait(
            lambda: bool(connection.scalar(statement, {"key": key})),
            f"{purpose}; waiting for its lock in the database",
            DATABASE_POLL_SECONDS,
        )
        yield


def _wait(try_lock: Callable[[], bool], notice: str, poll_seconds: float) -> None:
    """Try until it succeeds. Print the notice once if that takes long."""
    notice_time: float | None = time.monotonic() + WAIT_NOTICE_SECONDS
    while not try_lock():
        if notice_time is not None and time.monotonic() > notice_time:
            print(f"another process is busy with {notice}", file=sys.stderr)
            notice_time = None
        time.sleep(poll_seconds)
