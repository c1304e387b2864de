"""The lake half on a Spark cluster without a shared folder. Only S3 is between its machines."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.chaos.tcp_proxy import tcp_proxy
from core.errors import DONE, REFUSED_INPUT
from core.paths import PROJECT_ROOT
from lake.client import Lake
from tests.support.landing_files import DAY
from tests.support.postgres import create_database
from tests.support.processes import free_port
from tests.support.spark_cluster import DRIVER_HOST, MASTER, spark_cluster
from tests.tasks.test_steps_on_s3 import Platform

STEPS = ("ingest", "clean", "sequences")
# Spark takes small inputs, too, and the rows have several buckets.
RUN = """
import sys
from importlib import import_module
from core import step_cli
from spark_jobs import exchange
from tasks import ingest
ingest.MIN_SPARK_BYTES, exchange.MAX_BYTES_IN_PROCESS, exchange.BUCKET_BYTES = 0, -1, 4096
steps, options = sys.argv[1].split(","), sys.argv[2:]
codes = (step_cli.main(step, import_module(f"tasks.{step}").run, None, options) for step in steps)
sys.exit(next((code for code in codes if code), 0))
"""


def _run(folder: Path, *steps: str) -> subprocess.CompletedProcess[str]:
    arguments = [
        "--night",
        str(DAY),
        "--workspace",
        str(folder / "night"),
        "--params",
        str(folder / "params.yaml"),
    ]
    command = [sys.executable, "-c", RUN, ",".join(steps), *arguments]
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True)


@pytest.fixture
def local_platform(tmp_path, monkeypatch) -> Platform:
    """A platform whose night was run by Spark in one process."""
    monkeypatch.setenv("UNDERCURRENT_SPARK_MASTER", "local[2]")
    platform = Platform(tmp_path)
    platform.land()
    done = _run(tmp_path, *STEPS)
    assert done.returncode == DONE, done.stderr[:6000]
    return platform


@pytest.fixture
def cluster_address(s3, s3_address, monkeypatch):
    """The variables by which all machines reach S3. In this process they are set."""
    port, server = free_port(), int(s3_address["AWS_ENDPOINT_URL"].rpartition(":")[2])
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{DRIVER_HOST}:{port}")
    return s3_address | {"AWS_ENDPOINT_URL": f"http://{DRIVER_HOST}:{port}"}, server, port


@pytest.mark.timeout(600)
def test_a_cluster_without_a_shared_folder_gives_the_digests_of_one_process(
    local_platform, cluster_address, postgres_uri, tmp_path, monkeypatch
):
    expected = local_platform.digests(*STEPS)
    address, server, port = cluster_address
    folder = tmp_path / "cluster"
    folder.mkdir()
    monkeypatch.setenv("UNDERCURRENT_HOME", str(folder / "home"))
    monkeypatch.setenv("UNDERCURRENT_LANDING", f"s3://bucket/{tmp_path.name}/landing")
    monkeypatch.setenv("UNDERCURRENT_CATALOG_URI", create_database(postgres_uri, "cluster"))
    monkeypatch.setenv("UNDERCURRENT_SPARK_MASTER", MASTER)
    monkeypatch.setenv("UNDERCURRENT_SPARK_DRIVER_HOST", DRIVER_HOST)
    with spark_cluster(tmp_path, address) as logs, tcp_proxy(server, port, DRIVER_HOST):
        monkeypatch.setenv("UNDERCURRENT_WAREHOUSE", f"s3://bucket/{tmp_path.name}/lake")
        platform = Platform(folder)
        platform.land()
        done = _run(folder, *STEPS)
        assert done.returncode == DONE, done.stderr[:6000]
        assert platform.digests(*STEPS) == expected
        assert all("Asked to launch executor" in log.read_text() for log in logs)
        assert len(Lake().data_files("sequences")) > 3  # of several buckets a day


@pytest.mark.timeout(600)
def test_a_cluster_refuses_a_folder_that_its_workers_do_not_see(local_platform, tmp_path, monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_SPARK_MASTER", MASTER)
    monkeypatch.setenv("UNDERCURRENT_SPARK_DRIVER_HOST", DRIVER_HOST)
    Lake().commit("sequences", [], [], {str(DAY): None})  # the night's sequences are built again
    with spark_cluster(tmp_path, {}):  # its machines see this folder as empty
        done = _run(tmp_path, "sequences")
    assert done.returncode == REFUSED_INPUT, done.stderr[:6000]
    assert "does not see" in done.stderr
    assert "Traceback" not in done.stderr
