"""A real PostgreSQL server for tests, on loopback, gone with its `with` block."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy

DEBIAN_PROGRAMS = Path("/usr/lib/postgresql")


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server with an empty data folder, and yield the SQLAlchemy address of a database.

    The test is skipped if PostgreSQL is not installed.
    """
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    user = _server_user()
    with tempfile.TemporaryDirectory(prefix="undercurrent-postgres-") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        data, port = folder / "data", _free_port()
        _run(user, programs / "initdb", "-D", data, "-U", "test", "--auth=trust", "--no-sync", "-E", "UTF8")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        control = programs / "pg_ctl"
        _run(user, control, "start", "-w", "-D", data, "-l", folder / "log", "-o", options)
        try:
            yield f"postgresql+psycopg://test@127.0.0.1:{port}/postgres"
        finally:
            _run(user, control, "stop", "-D", data, "-m", "immediate")


def create_database(address: str, name: str) -> str:
    """Create an empty database in the server of another one, and return its SQLAlchemy address."""
    engine = sqlalchemy.create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f'CREATE DATABASE "{name}"'))
    engine.dispose()
    return f"{address.rpartition('/')[0]}/{name}"


def _programs() -> Path | None:
    """Return the folder of PostgreSQL's programs. Debian keeps most of them off the PATH."""
    if initdb := shutil.which("initdb"):
        return Path(initdb).resolve().parent
    folders = sorted(DEBIAN_PROGRAMS.glob("*/bin"), key=lambda path: int(path.parent.name))
    return folders[-1] if folders else None


def _server_user() -> str | None:
    """Return the user that the server runs as: it refuses root. None: the present user."""
    if os.getuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _run(user: str | None, *command: object) -> None:
    """Run a program of PostgreSQL.

    Raises:
        RuntimeError: It failed.
    """
    completed = subprocess.run(
        list(map(str, command)),
        user=user,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
    )
    if completed.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{completed.stdout[-2000:]}")


def _free_port() -> int:
    with socket.socket() as free_socket:
        free_socket.bind(("127.0.0.1", 0))
        return free_socket.getsockname()[1]
