"""The PostgreSQL server of `make up PROFILE=postgres`, with its data in the home."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from core import paths
from core.errors import InputError
from ops import private_files
from ops.ports import LOOPBACK
from ops.supervisor import Component

USER = "undercurrent"
DATABASES = ("airflow", "lake", "mlflow")
DEBIAN_PROGRAMS = Path("/usr/lib/postgresql")  # Debian keeps them off the PATH


def component(port: int) -> Component:
    """Return the server. It listens on loopback only, and has no socket file."""
    options = (f"listen_addresses={LOOPBACK}", f"port={port}", "unix_socket_directories=")
    flags = [part for option in options for part in ("-c", option)]
    command = [str(_programs() / "postgres"), "-D", str(_folder() / "data"), *flags]
    return Component("postgres", _as_server_user(command), _environment())


def initialise() -> None:
    """Create the data folder with one user, who has a generated password. An existing one is kept.

    Raises:
        InputError: PostgreSQL is not installed, or its user cannot reach the home.
        RuntimeError: The data folder cannot be created.
    """
    data, unfinished = _folder() / "data", _folder() / "data.new"
    programs, user = _programs(), _server_user()
    if data.exists():
        return
    _folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.rmtree(unfinished, ignore_errors=True)  # of a killed start
    password_file = _folder() / "password.txt"
    password_file.touch(mode=0o600)
    password_file.write_text(get_password(), encoding="utf-8")
    if user:
        for path in (_folder(), password_file):
            shutil.chown(path, user.pw_uid, user.pw_gid)
    _require_reachable(password_file)
    _run([str(programs / "initdb"), "-D", str(unfinished), f"--username={USER}",
          "--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C"])  # fmt: skip
    password_file.unlink()
    unfinished.rename(data)


def is_ready(port: int) -> bool:
    """Whether the server answers this user."""
    try:
        with _connect(port):
            return True
    except psycopg.OperationalError:
        return False


def create_databases(port: int) -> None:
    """Create the databases that are missing."""
    with _connect(port) as connection:
        existing = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
        for name in sorted(set(DATABASES) - existing):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def address(port: int, database: str) -> str:
    """Return the SQLAlchemy address of a database. It holds the password."""
    return f"postgresql+psycopg://{USER}:{quote(get_password())}@{LOOPBACK}:{port}/{database}"


def get_password() -> str:
    """Return the user's password. The first call generates it and stores it in a private file."""
    return private_files.get_password(paths.home() / "profile" / "postgres_login.json", USER)


def _connect(port: int) -> "psycopg.Connection[tuple[str]]":
    return psycopg.connect(
        host=LOOPBACK,
        port=port,
        user=USER,
        password=get_password(),
        dbname="postgres",
        connect_timeout=5,
        autocommit=True,
    )


def _folder() -> Path:
    return paths.home() / "postgres"


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs."""
    if initdb := shutil.which("initdb"):
        return Path(initdb).resolve().parent
    folders = sorted(DEBIAN_PROGRAMS.glob("*/bin"), key=lambda path: int(path.parent.name))
    if folders:
        return folders[-1]
    raise InputError(
        "PostgreSQL is not installed; run `make setup`, or install it"
        " (Debian: sudo apt-get install postgresql)"
    )


def _server_user() -> pwd.struct_passwd | None:
    """Return the user that the server runs as if this user is root, whom it refuses. None: this user."""
    if os.getuid():
        return None
    users = {entry.pw_name: entry for entry in pwd.getpwall()}
    return users["postgres"] if "postgres" in users else users["nobody"]


def _as_server_user(command: Sequence[str]) -> list[str]:
    """Return the command as the server's user.

    The change of user clears the death signal (`ops.process_group`), so it is set again.
    """
    user = _server_user()
    if user is None:
        return list(command)
    change = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [*change, "--pdeathsig", "KILL", *command]


def _require_reachable(path: Path) -> None:
    """Refuse a home whose folders the server's user may not enter."""
    if subprocess.run(_as_server_user(["test", "-r", str(path)]), cwd="/").returncode:
        user = _server_user()
        raise InputError(
            f"PostgreSQL refuses to run as root, and the user {user.pw_name if user else ''} may not enter"
            f" {path.parent}; run `make up` as another user, or set UNDERCURRENT_HOME to a folder that every"
            " user may enter"
        )


def _environment() -> dict[str, str]:
    """Return an environment without secrets and without settings of a client (PGHOST, …)."""
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}


def _run(command: Sequence[str]) -> None:
    """Run a program of PostgreSQL as the server's user.

    Raises:
        RuntimeError: It failed.
    """
    completed = subprocess.run(
        _as_server_user(command),
        cwd="/",
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if completed.returncode:
        print(completed.stdout, file=sys.stderr)
        raise RuntimeError(f"`{Path(command[0]).name}` failed with exit code {completed.returncode}")
