"""The Spark of `make up PROFILE=postgres`: a standalone master and one worker, which share a secret."""

import importlib.util
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from core import paths
from ops.ports import LOOPBACK
from ops.private_files import private_umask
from ops.supervisor import Component

WORKER_MEMORY = "2g"  # of the JVMs of the executors
DAEMON_MEMORY = "256m"


def master(port: int) -> Component:
    """Return the master. It listens on loopback only."""
    return _component("spark-master", "master.Master", ("--port", str(port)), {})


def worker(port: int, variables: Mapping[str, str]) -> Component:
    """Return the worker. It listens on loopback only.

    Args:
        port: port of the master.
        variables: those that lead tasks to S3. The driver does not send credentials.
    """
    options = ("--memory", WORKER_MEMORY, "--work-dir", str(_folder()), _address(port))
    return _component("spark-worker", "worker.Worker", options, variables)


def variables(port: int) -> dict[str, str]:
    """Return the variables that lead a step to the cluster. The folder of settings holds the secret."""
    return {
        "SPARK_CONF_DIR": str(_settings_folder()),
        "UNDERCURRENT_SPARK_DRIVER_HOST": LOOPBACK,
        "UNDERCURRENT_SPARK_MASTER": _address(port),
    }


def is_listening(port: int) -> bool:
    """Whether the master answers. Jobs wait for the worker."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=5):
            return True
    except OSError:
        return False


def _component(name: str, java_class: str, options: Sequence[str], variables: Mapping[str, str]) -> Component:
    program = str(_spark_home() / "bin" / "spark-class")
    command = [program, f"org.apache.spark.deploy.{java_class}"]
    command += ["--host", LOOPBACK, "--webui-port", "0", *options]
    environment = {
        **os.environ,
        **variables,
        "SPARK_CONF_DIR": str(_settings_folder()),
        "SPARK_DAEMON_MEMORY": DAEMON_MEMORY,
        "SPARK_LOCAL_IP": LOOPBACK,  # of the web pages, too
    }
    return Component(name, command, environment)


def _address(port: int) -> str:
    return f"spark://{LOOPBACK}:{port}"


def _spark_home() -> Path:
    """Return the folder of pyspark, without an import of it."""
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise RuntimeError("pyspark is not installed; run `make setup`")
    return Path(spec.origin).parent


def _settings_folder() -> Path:
    """Return SPARK_CONF_DIR. The first call generates the secret, which keeps other users out."""
    path = paths.home() / "profile" / "spark" / "spark-defaults.conf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = f"spark.authenticate true\nspark.authenticate.secret {secrets.token_hex(32)}\n"
        with private_umask():
            path.write_text(settings, encoding="utf-8")
    return path.parent


def _folder() -> Path:
    folder = paths.home() / "spark"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
