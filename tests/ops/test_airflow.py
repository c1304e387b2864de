"""A real Airflow with scheduler, API server and DAG processor, on PostgreSQL, in a temporary home."""

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from core.paths import APPROVAL_FILE
from core.run_manifests import read_manifest
from core.step_graph import STEPS
from ops import airflow_home, airflow_server, run_outcome, up_lock
from ops.airflow_api import AirflowClient
from ops.airflow_server import DAG_ID
from ops.approval import APPROVE, REJECT
from ops.run_outcome import UnexpectedFailureError
from ops.supervisor import Supervisor
from ops.watch_run import watch_run
from tests.ops.test_approval import judged_night
from tests.support.postgres import create_database
from tests.support.processes import free_port
from tests.support.webhook import webhook

NIGHT = "2026-03-09"
APPROVAL_HOURS = "0.0125"  # 45 s. The answers below come earlier.
# A person reads first. Airflow takes a task that is answered within a second for one that was killed, because
# the process that asked has not ended yet. It then asks again.
READING_SECONDS = 8


class Airflow(NamedTuple):
    """A running Airflow with alerts and lineage."""

    api: AirflowClient
    supervisor: Supervisor
    home: Path
    posted: list[tuple[str, Any]]
    lineage: Path


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, postgres_uri: str) -> Iterator[Airflow]:
    folder = tmp_path_factory.mktemp("airflow")
    home, lineage = folder / "home", folder / "lineage.jsonl"
    transport = {"type": "file", "log_file_path": str(lineage), "append": True}
    with webhook() as (address, posted), pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERCURRENT_HOME", str(home))
        patch.setenv("UNDERCURRENT_ALERT_WEBHOOK", address)
        patch.setenv("UNDERCURRENT_APPROVAL_HOURS", APPROVAL_HOURS)
        patch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", json.dumps(transport))
        patch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", create_database(postgres_uri, "airflow"))
        with up_lock.hold(), airflow_server.start(free_port()) as (api, supervisor):
            yield Airflow(api, supervisor, home, posted, lineage)


@pytest.fixture
def airflow(started: Airflow, monkeypatch: pytest.MonkeyPatch) -> Airflow:
    """The Airflow that the tests of this file share, because its start takes long."""
    monkeypatch.setenv("UNDERCURRENT_HOME", str(started.home))
    return started


def test_a_night_without_events_is_refused_once_although_the_scheduler_died(
    airflow: Airflow, capsys: pytest.CaptureFixture[str]
) -> None:
    api, supervisor = airflow.api, airflow.supervisor
    api.set_paused(DAG_ID, False)
    os.kill(supervisor.pid("scheduler"), signal.SIGKILL)
    api.trigger_run(DAG_ID, "no-events", {"night": NIGHT})
    assert watch_run(api, supervisor, DAG_ID, "no-events") == "failed"
    tasks = {task["task_id"]: task for task in api.task_instances(DAG_ID, "no-events")}
    failure = run_outcome.find_failure(api, DAG_ID, "no-events")
    with pytest.raises(UnexpectedFailureError, match="no-events failed at ingest: ingest: refused: "):
        run_outcome.read_outcome(api, DAG_ID, "no-events", airflow.home / "nights" / NIGHT)
    stderr = capsys.readouterr().err
    assert "scheduler died (exit code -9); restarting it" in stderr
    assert stderr.count("ingest     failed") == 1
    assert (tasks["ingest"]["state"], tasks["ingest"]["try_number"]) == ("failed", 1)  # refused: no retry
    assert {tasks[step]["state"] for step in STEPS if step != "ingest"} == {"upstream_failed"}
    assert failure is not None
    assert failure.reason.startswith(
        f"ingest: refused: {airflow.home}/landing/events/dt={NIGHT} holds no files"
    )
    assert not failure.is_blocked
    assert any(f"ingest: night {NIGHT}" in line for line in failure.log_lines)  # the log of the step
    (alert,) = (fields for _, fields in airflow.posted if fields["run"] == "no-events")
    assert (alert["step"], alert["night"]) == ("ingest", NIGHT)  # the steps after it did not fail themselves
    assert f"dt={NIGHT} holds no files" in alert["reason"]
    assert any("ingest: refused: " in line for line in alert["log_lines"])
    assert not list(airflow.home.rglob("airflow.db"))  # PostgreSQL holds all of it
    events = [json.loads(line) for line in airflow.lineage.read_text().splitlines()]
    assert {"START", "FAIL"} <= {e["eventType"] for e in events if e["job"]["name"] == "nightly.ingest"}


@pytest.mark.timeout(900)
def test_only_an_approved_challenger_becomes_the_champion(airflow: Airflow) -> None:
    api, days = airflow.api, {REJECT: date(2026, 3, 10), None: date(2026, 3, 11), APPROVE: date(2026, 3, 12)}
    workspaces = {answer: judged_night(airflow.home, day) for answer, day in days.items()}
    api.set_paused(DAG_ID, True)
    for day in days.values():
        queue_promotion(api, day)
    api.set_paused(DAG_ID, False)
    for answer, day in days.items():
        answer_request(airflow, day, answer)
    # Only a new champion is announced to the DAGs that wait for it.
    airflow.supervisor.wait_for(lambda: bool(api.asset_runs("undercurrent_model")), "the event", timeout=60)
    assert api.asset_runs("undercurrent_model") == [f"approval-{days[APPROVE]}"]
    outcomes = {a: read_manifest(w / "run_manifests", "promote")["facts"] for a, w in workspaces.items()}
    assert outcomes[REJECT]["outcome"] == "does not become champion: admin rejected it"
    assert outcomes[None]["outcome"] == "does not become champion: the time limit rejected it"
    assert outcomes[APPROVE]["outcome"] == "is now the champion; there was none before"
    assert json.loads((workspaces[APPROVE] / APPROVAL_FILE).read_text())["approved"] is True


def queue_promotion(api: AirflowClient, day: date) -> None:
    """Trigger a run of `approval` and `promote`. The DAG is paused, so the run waits.

    The other steps would be skipped one by one, which takes seconds for each. So they are skipped here.
    """
    run_id = f"approval-{day}"
    api.trigger_run(DAG_ID, run_id, {"steps": ["promote"]}, partition_key=str(day))
    for step, upstream in {"gate": True, "record": False, "report": False}.items():
        path = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{step}"
        api._request("PATCH", path, json={"new_state": "skipped", "include_upstream": upstream})


def answer_request(airflow: Airflow, day: date, answer: str | None) -> None:
    """Answer what the run of a night asks, and wait for its end. None: do not answer."""
    run_id = f"approval-{day}"
    airflow.supervisor.wait_for(lambda: _request(airflow, run_id) is not None, "the request", 600)
    request = _request(airflow, run_id)
    assert request is not None
    assert "| better_than_" in request["body"]
    if answer:
        time.sleep(READING_SECONDS)
        airflow.api.respond(DAG_ID, run_id, "approval", answer)
    assert watch_run(airflow.api, airflow.supervisor, DAG_ID, run_id) == "success"


def _request(airflow: Airflow, run_id: str) -> dict[str, Any] | None:
    return airflow.api.approval_request(DAG_ID, run_id, "approval")


def test_password_and_keys_are_private(home: Path) -> None:
    environment = airflow_home.build_environment(8080)
    airflow_home.get_password()
    private = [airflow_home.folder() / "secrets.json", *airflow_home.folder().glob("*passwords*")]
    assert len(private) == 2
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert airflow_home.get_password() == airflow_home.get_password() != airflow_home.USER
    assert airflow_home.build_environment(8080) == environment
