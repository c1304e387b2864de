"""What the tests share: a home of their own, one Spark context, the real data where it is at hand."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from pyspark import SparkContext

from spark_jobs.context import spark_context

settings.register_profile("untimed", deadline=None)  # a busy machine is no defect
settings.load_profile("untimed")

SHARED_DATA = Path(os.environ.get("UNDERCURRENT_SHARED_DATA", "../shared/data")).resolve()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """UNDERCURRENT_HOME in a folder of the test's own; no setting of the caller's leaks in."""
    for name in list(os.environ):
        if name.startswith(("UNDERCURRENT_", "DVC_")) and name != "UNDERCURRENT_SHARED_DATA":
            monkeypatch.delenv(name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
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
def spark() -> Iterator[SparkContext]:
    logging.getLogger("py4j").setLevel(logging.WARNING)  # or it logs its own end to a stream that is closed
    started = spark_context("tests")
    stop = started.stop
    yield started
    stop()


@pytest.fixture
def keep_spark(spark: SparkContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps stop their Spark context when done; within tests one context serves them all."""
    monkeypatch.setattr(SparkContext, "stop", lambda self: None)
