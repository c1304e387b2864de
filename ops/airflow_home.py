"""An Airflow of our own under UNDERCURRENT_HOME: its settings, its database, its one local user."""

import base64
import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from contracts import place
from ops import child, private
from ops.ports import LOOPBACK
from ops.private import write_private

USER = "admin"
NO_TELEMETRY = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
POOLS = place.PROJECT / "ops" / "pools.json"


def folder() -> Path:
    """AIRFLOW_HOME."""
    return place.home() / "airflow"


def airflow(*arguments: str) -> list[str]:
    """An `airflow` command as an argument list."""
    return [sys.executable, "-m", "airflow", *arguments]


def environment(port: int) -> dict[str, str]:
    """The environment of every Airflow process.

    Embedded SQLite and LocalExecutor: one machine, one scheduler. The intervals are short where a
    night waits for them, long where they only cost CPU (the DAG file changes with the code).
    """
    kept = _secrets()
    settings = {
        "CORE__DAGS_FOLDER": str(place.PROJECT / "dags"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__FERNET_KEY": kept["fernet"],
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_passwords_file()),
        "CORE__EXECUTION_API_SERVER_URL": f"http://{LOOPBACK}:{port}/execution/",
        "API__BASE_URL": f"http://{LOOPBACK}:{port}",
        "API__SECRET_KEY": kept["api"],
        "API_AUTH__JWT_SECRET": kept["jwt"],
        "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
    }
    return os.environ | {
        "AIRFLOW_HOME": str(folder()),
        "UNDERCURRENT_HOME": str(place.home()),
        "PYTHONPATH": str(place.PROJECT),
        "NO_PROXY": LOOPBACK,
        **NO_TELEMETRY,
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    }


def prepare(environment: Mapping[str, str], log: Path) -> None:
    """Make the database, or bring it up to this Airflow, and the pools.

    Raises:
        RuntimeError: an Airflow command failed; says where its words are.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    for command in (airflow("db", "migrate"), airflow("pools", "import", str(POOLS))):
        with log.open("a", encoding="utf-8") as output:
            code = child.start(command, place.PROJECT, environment, output).wait()
        if code:
            raise RuntimeError(f"`{' '.join(command[1:])}` ended with exit code {code}; see {log}")


def password() -> str:
    """The local user's password, made up on the first call and kept where only we can read it."""
    return private.password(_passwords_file(), USER)


def _passwords_file() -> Path:
    return folder() / "simple_auth_manager_passwords.json.generated"


def _secrets() -> dict[str, str]:
    """Keys that all components must share."""
    path = folder() / "secrets.json"
    if not path.exists():
        fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        write_private(path, {"fernet": fernet, "api": secrets.token_hex(32), "jwt": secrets.token_hex(32)})
    return dict(json.loads(path.read_text(encoding="utf-8")))
