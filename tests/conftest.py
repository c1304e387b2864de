"""What the tests share: a home of their own, one Spark context, the real data where it is at hand."""

import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from pyspark import SparkContext
from pyspark.sql import SparkSession
from s3fs import S3FileSystem

from media import fetch
from spark_jobs.context import spark_context, spark_session
from tests.support.postgres import postgres
from tests.support.s3_server import client, seaweedfs

if not hasattr(main := sys.modules["__main__"], "__file__"):  # a worker of pytest-xdist
    # PySpark takes a main module without a file for one of its doctests, and exits.
    main.__file__ = importlib.util.find_spec("pytest.__main__").origin  # type: ignore[union-attr]

settings.register_profile("untimed", deadline=None)  # a busy machine is no defect
settings.load_profile("untimed")


class FailuresAtOnce:
    """Prints each failure when it happens, so that a run that is ended from outside still tells them."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self.terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            failure = f"{report.nodeid} failed in its {report.when} after {report.duration:.0f} s"
            self.terminal.write_line(f"\n{failure}\n{report.longreprtext}")
            self.terminal.flush()


@pytest.hookimpl(trylast=True)  # after the terminal reporter was registered
def pytest_configure(config: pytest.Config) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and not hasattr(config, "workerinput"):  # a worker of pytest-xdist prints nothing
        config.pluginmanager.register(FailuresAtOnce(terminal))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a time limit of their own are long. They come first: no worker is left alone with one."""
    long_files = {item.path for item in items if item.get_closest_marker("timeout")}
    items.sort(key=lambda item: item.path not in long_files)


SHARED_DATA = Path(os.environ.get("UNDERCURRENT_SHARED_DATA", "../shared/data")).resolve()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """UNDERCURRENT_HOME in a folder of the test's own; no setting of the caller's leaks in."""
    for name in list(os.environ):
        if name.startswith(("UNDERCURRENT_", "DVC_")) and name != "UNDERCURRENT_SHARED_DATA":
            monkeypatch.delenv(name)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # mlflow.set_registry_uri sets the second
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    folder = tmp_path / "home"
    monkeypatch.setenv("UNDERCURRENT_HOME", str(folder))
    return folder


@pytest.fixture
def landing(home: Path) -> Path:
    return home / "landing"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data (UNDERCURRENT_SHARED_DATA); tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real data is not at {SHARED_DATA}; set UNDERCURRENT_SHARED_DATA")
    return SHARED_DATA


@pytest.fixture(scope="session")
def postgres_uri() -> Iterator[str]:
    """The SQLAlchemy address of a real PostgreSQL. Tests that need it skip if it is not installed."""
    with postgres() as address:
        yield address


@pytest.fixture(scope="session")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables that lead to a real S3 server, started at its first use."""
    with seaweedfs(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture
def s3(s3_address: dict[str, str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A client of a running store with a bucket named `bucket`. The environment holds its address."""
    for name, value in s3_address.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    _forget_s3_clients()
    yield client(s3_address)
    _forget_s3_clients()


def _forget_s3_clients() -> None:
    """Clients are kept for a process, but the tests change the address and the credentials."""
    fetch._s3_client.cache_clear()
    S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkContext]:
    logging.getLogger("py4j").setLevel(logging.WARNING)  # or it logs its own end to a stream that is closed
    started = spark_context("tests")
    stop = started.stop
    yield started
    stop()


@pytest.fixture(scope="session")
def spark_sql(spark: SparkContext) -> SparkSession:
    return spark_session("tests")


@pytest.fixture
def keep_spark(spark: SparkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps stop their Spark context when done; within tests one context serves them all."""
    monkeypatch.setattr(SparkContext, "stop", lambda self: None)
