"""A Spark standalone cluster for tests: a master and two workers, each like a machine of its own.

Each process has a network namespace, so it reaches the others by their addresses only. It has a mount
namespace, too, in which the temporary folder and the project's code are empty. So no file is shared.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark
import pytest

from core.paths import PROJECT_ROOT
from spark_jobs.context import TASK_PACKAGES

BRIDGE, SUBNET = "ucspark0", "10.87.113"
DRIVER_HOST = f"{SUBNET}.1"  # of this process, in the network of the cluster
MASTER_HOST, WORKER_HOSTS = f"{SUBNET}.2", (f"{SUBNET}.3", f"{SUBNET}.4")
MASTER = f"spark://{MASTER_HOST}:7077"
JARS = Path(pyspark.__file__).parent / "jars"
START_SECONDS = 300  # on a busy machine a JVM takes long


@contextmanager
def spark_cluster(folder: Path, environment: dict[str, str]) -> Iterator[list[Path]]:
    """Run the cluster. The test is skipped if this machine allows no namespaces.

    Args:
        folder: Where the logs are written.
        environment: Variables of the workers, such as the credentials of S3.

    Yields:
        The log of each worker.
    """
    with ExitStack() as stack:
        stack.enter_context(_bridge())
        master = ("master.Master", "--host", MASTER_HOST, "--port", "7077", "--webui-port", "0")
        stack.enter_context(_node(MASTER_HOST, master, folder / "master.log", {}))
        _wait_for(folder / "master.log", "I have been elected leader")
        logs = []
        for host in WORKER_HOSTS:
            logs.append(folder / f"{host}.log")
            options = ("--host", host, "--cores", "1", "--memory", "1g", "--work-dir", str(folder / "work"))
            worker = ("worker.Worker", *options, "--webui-port", "0", MASTER)
            stack.enter_context(_node(host, worker, logs[-1], environment))
        for log in logs:
            _wait_for(log, "Successfully registered with master")
        yield logs


@contextmanager
def _bridge() -> Iterator[None]:
    """Create the network of the cluster, and give this process an address in it."""
    if os.getuid() or not _succeeds("ip", "link", "add", BRIDGE, "type", "bridge"):
        pytest.skip("this machine allows no network namespaces")
    try:
        _ip("address", "add", f"{DRIVER_HOST}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        yield
    finally:
        _ip("link", "delete", BRIDGE)


@contextmanager
def _node(host: str, spark_class: Sequence[str], log: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run a process of Spark in namespaces of its own."""
    name = f"uc-{host.rpartition('.')[2]}"
    mounts = " && ".join(f"mount -t tmpfs tmpfs '{path}'" for path in _hidden_folders(log.parent))
    java = ["java", "-Xmx256m", "-cp", f"{JARS}/*", f"org.apache.spark.deploy.{spark_class[0]}"]
    command = ["ip", "netns", "exec", name, "unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh"]
    with _network_namespace(name, host), log.open("w") as output:
        process = subprocess.Popen(
            [*command, *java, *spark_class[1:]],
            stdout=output,
            stderr=output,
            cwd="/",
            env=_clean_environment() | environment,
        )
        try:
            yield
        finally:
            process.terminate()  # a worker ends its executors
            process.wait(30)


def _hidden_folders(folder: Path) -> list[Path]:
    """Return the folders that a node sees as empty, the deepest ones first."""
    code, temporary = [PROJECT_ROOT / package for package in TASK_PACKAGES], Path(tempfile.gettempdir())
    holds_python = temporary in Path(sys.prefix).parents
    return [*code, folder, *([] if holds_python else [temporary])]


@contextmanager
def _network_namespace(name: str, host: str) -> Iterator[None]:
    _ip("netns", "add", name)
    try:
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", name, "master", BRIDGE, "up")
        for command in (f"address add {host}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _ip("-n", name, *command.split())
        yield
    finally:
        _ip("netns", "delete", name)


def _clean_environment() -> dict[str, str]:
    """Return what a machine of its own would have: no setting of the driver."""
    spark = {"SPARK_HOME": str(JARS.parent), "SPARK_SCALA_VERSION": "2.13"}  # as bin/spark-class sets them
    return {"PATH": os.environ["PATH"], "HOME": tempfile.gettempdir(), **spark}


def _wait_for(log: Path, text: str) -> None:
    until = time.monotonic() + START_SECONDS
    while text not in log.read_text():
        if time.monotonic() > until:
            raise RuntimeError(f"Spark did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True).returncode == 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
