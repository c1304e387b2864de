"""Tasks on a Celery worker, with a real Redis and PostgreSQL."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops import airflow_home, airflow_server, run_outcome, up_lock
from ops.airflow_server import DAG_ID
from ops.ports import LOOPBACK
from ops.supervisor import Component, Supervisor
from ops.watch_run import watch_run
from tests.support.postgres import create_database
from tests.support.processes import free_port

PASSWORD = "s3cret-broker"
# What docs/operations.md lets a worker run.
WORKER = ("celery", "worker", "--concurrency", "1", "--skip-serve-logs")


@pytest.fixture
def broker() -> Iterator[str]:
    """The address of a Redis server that asks for a password."""
    if not (program := shutil.which("redis-server")):
        pytest.skip("Redis is not installed (Debian: apt-get install redis-server)")
    port = free_port()
    options = ["--port", str(port), "--bind", LOOPBACK, "--save", "", "--requirepass", PASSWORD]
    with subprocess.Popen([program, *options], stdout=subprocess.DEVNULL) as server:
        yield f"redis://:{PASSWORD}@{LOOPBACK}:{port}/0"
        server.terminate()


def test_a_celery_worker_runs_the_steps_and_no_log_has_the_password_of_the_broker(
    home: Path, broker: str, postgres_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", create_database(postgres_uri, "celery"))
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", broker)
    port, logs = free_port(), airflow_home.folder() / "components"
    with up_lock.hold(), airflow_server.start(port) as (api, supervisor):
        environment = airflow_home.build_environment(port)
        worker = Component("worker", airflow_home.airflow_command(*WORKER), environment)
        with Supervisor([worker], logs):
            api.set_paused(DAG_ID, False)
            api.trigger_run(DAG_ID, "no-events", {}, partition_key="2026-03-09")
            assert watch_run(api, supervisor, DAG_ID, "no-events") == "failed"
            failure = run_outcome.find_failure(api, DAG_ID, "no-events")
    assert failure is not None
    assert failure.reason.startswith("ingest: refused: ")
    assert "execute_workload" in (logs / "worker.log").read_text()  # the worker ran it, not the scheduler
    assert not [path for path in logs.iterdir() if PASSWORD in path.read_text()]
