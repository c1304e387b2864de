"""Airflow's home under UNDERCURRENT_HOME: settings, database and one local user."""

import base64
import json
import os
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from core import paths
from ops import private_files, process_group
from ops.ports import LOOPBACK
from ops.private_files import write_private

USER = "admin"
NO_TELEMETRY = {"DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
ERROR_LINE = re.compile(r"^[\w.]*(?:Error|Exception)\b.*", re.MULTILINE)
SETUP = (sys.executable, "-m", "ops.airflow_setup")


def folder() -> Path:
    """Return AIRFLOW_HOME."""
    return paths.home() / "airflow"


def airflow_command(*arguments: str) -> list[str]:
    """Return an `airflow` command as an argument list."""
    return [sys.executable, "-m", "ops.airflow_process", *arguments]


def build_environment(port: int) -> dict[str, str]:
    """Return the environment of every Airflow process.

    The defaults are SQLite and LocalExecutor, for one machine and one scheduler. Intervals are short if a
    night waits for them, and long if they only cost CPU. A variable of the environment has precedence, such
    as AIRFLOW__CORE__EXECUTOR or AIRFLOW__DATABASE__SQL_ALCHEMY_CONN.

    Args:
        port: port of the API server.
    """
    keys = _load_keys()
    defaults = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(paths.PROJECT_ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__FERNET_KEY": keys["fernet"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_passwords_file()),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{LOOPBACK}:{port}/execution/",
        "AIRFLOW__API__BASE_URL": f"http://{LOOPBACK}:{port}",
        "AIRFLOW__API__SECRET_KEY": keys["api"],
        "AIRFLOW__API_AUTH__JWT_SECRET": keys["jwt"],
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # the end of a short task is noticed as late as this
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
    }
    database = os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "")
    if database.startswith("postgresql+psycopg:"):  # this driver serves Airflow's asynchronous calls, too
        defaults["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC"] = database
    return os.environ | {
        "AIRFLOW_HOME": str(folder()),
        "UNDERCURRENT_HOME": str(paths.home()),
        "PYTHONPATH": str(paths.PROJECT_ROOT),
        "NO_PROXY": LOOPBACK,
        **NO_TELEMETRY,
        **{name: os.environ.get(name, value) for name, value in defaults.items()},
    }


def initialise(environment: Mapping[str, str], log: Path) -> None:
    """Create or migrate Airflow's database, and import the pools.

    Args:
        environment: from `build_environment`.
        log: file that gets the output.

    Raises:
        RuntimeError: it failed. The message names the last error and the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as output:
        start = output.tell()
        exit_code = process_group.start(SETUP, paths.PROJECT_ROOT, environment, output).wait()
    if exit_code:
        raise RuntimeError(
            f"Airflow's database cannot be prepared (exit code {exit_code}):"
            f" {_last_error(log, start)}; see {log}"
        )
    _prepared().touch()


def is_initialised() -> bool:
    """Whether this home has been initialised."""
    return _prepared().exists()


def _prepared() -> Path:
    return folder() / "prepared"


def _last_error(log: Path, start: int) -> str:
    """Return the last error in a log, else its last line.

    Args:
        log: the file.
        start: where the output of the failed set-up begins, in bytes.
    """
    text = log.read_bytes()[start:].decode(errors="replace")
    return (ERROR_LINE.findall(text) or text.strip().splitlines() or ["no output"])[-1]


def get_password() -> str:
    """Return the local user's password. The first call generates it and stores it in a private file."""
    return private_files.get_password(_passwords_file(), USER)


def _passwords_file() -> Path:
    return folder() / "simple_auth_manager_passwords.json.generated"


def _load_keys() -> dict[str, str]:
    """Return the keys that all components share. The first call generates them."""
    path = folder() / "secrets.json"
    if not path.exists():
        fernet = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        write_private(path, {"fernet": fernet, "api": secrets.token_hex(32), "jwt": secrets.token_hex(32)})
    return dict(json.loads(path.read_text(encoding="utf-8")))
