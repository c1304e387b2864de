"""A real Airflow of our own: scheduler, API server and DAG processor, on a home of the test's."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contracts.steps import STEPS
from ops import airflow_home, components, outcome
from ops.airflow_api import AirflowApi
from ops.follow import follow
from ops.outcome import FaultError
from ops.ports import LOOPBACK
from ops.supervisor import Supervisor

DAG = "nightly"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running() -> Iterator[tuple[AirflowApi, Supervisor]]:
    """Airflow, up, with the DAG known and let go."""
    port = free_port()
    environment = airflow_home.environment(port)
    logs = airflow_home.folder() / "components"
    airflow_home.prepare(environment, logs / "prepare.log")
    api = AirflowApi(f"http://{LOOPBACK}:{port}", airflow_home.USER, airflow_home.password())
    with Supervisor(components.airflow_parts(environment, port), logs) as supervisor:
        supervisor.wait_for(api.healthy, "Airflow", patience=240)
        api.log_in()
        supervisor.wait_for(lambda: api.knows(DAG), DAG, patience=120)
        api.pause(DAG, False)
        yield api, supervisor


def test_a_night_without_events_is_refused_once_even_if_the_scheduler_died_in_between(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as (api, supervisor):
        os.kill(supervisor.pid("scheduler"), signal.SIGKILL)
        api.trigger(DAG, "no-events", {"night": "2026-03-09"})
        assert follow(api, supervisor, DAG, "no-events") == "failed"
        tasks = {task["task_id"]: task for task in api.tasks(DAG, "no-events")}
        stop = outcome.why_stopped(api, DAG, "no-events")
        with pytest.raises(FaultError, match="no-events failed at ingest: ingest: refused: "):
            outcome.of_run(api, DAG, "no-events", home / "nights" / "2026-03-09")
    told = capsys.readouterr().err
    assert "scheduler ended (exit code -9); starting it again" in told
    assert told.count("ingest     failed") == 1
    assert (tasks["ingest"]["state"], tasks["ingest"]["try_number"]) == ("failed", 1)  # refused: no retry
    assert {tasks[step]["state"] for step in STEPS if step != "ingest"} == {"upstream_failed"}
    assert stop is not None
    assert stop.why.startswith(f"ingest: refused: {home}/landing/events/dt=2026-03-09 holds no files")
    assert not stop.blocked
    assert any("ingest: night 2026-03-09" in line for line in stop.log)  # the step's own words


def test_the_password_and_the_keys_are_ours_alone(home: Path) -> None:
    environment = airflow_home.environment(8080)
    airflow_home.password()
    private = [airflow_home.folder() / "secrets.json", *airflow_home.folder().glob("*passwords*")]
    assert len(private) == 2
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert airflow_home.password() == airflow_home.password() != airflow_home.USER
    assert airflow_home.environment(8080) == environment
