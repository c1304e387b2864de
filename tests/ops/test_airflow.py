"""A real Airflow with scheduler, API server and DAG processor, in a temporary home."""

import os
import signal
from pathlib import Path

import pytest

from core.step_graph import STEPS
from ops import airflow_home, airflow_server, run_outcome
from ops.airflow_server import DAG_ID
from ops.run_outcome import UnexpectedFailureError
from ops.watch_run import watch_run
from tests.support.processes import free_port
from tests.support.webhook import webhook


def test_a_night_without_events_is_refused_once_although_the_scheduler_died(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook() as (address, posted):
        monkeypatch.setenv("UNDERCURRENT_ALERT_WEBHOOK", address)
        _run_night_without_events(home, capsys)
    assert len(posted) == 1  # the steps after ingest did not fail themselves
    alert = posted[0][1]
    assert (alert["step"], alert["night"]) == ("ingest", "2026-03-09")
    assert "dt=2026-03-09 holds no files" in alert["reason"]
    assert any("ingest: refused: " in line for line in alert["log_lines"])


def _run_night_without_events(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with airflow_server.start(free_port()) as (api, supervisor):
        api.set_paused(DAG_ID, False)
        os.kill(supervisor.pid("scheduler"), signal.SIGKILL)
        api.trigger_run(DAG_ID, "no-events", {"night": "2026-03-09"})
        assert watch_run(api, supervisor, DAG_ID, "no-events") == "failed"
        tasks = {task["task_id"]: task for task in api.task_instances(DAG_ID, "no-events")}
        failure = run_outcome.find_failure(api, DAG_ID, "no-events")
        with pytest.raises(UnexpectedFailureError, match="no-events failed at ingest: ingest: refused: "):
            run_outcome.read_outcome(api, DAG_ID, "no-events", home / "nights" / "2026-03-09")
    stderr = capsys.readouterr().err
    assert "scheduler died (exit code -9); restarting it" in stderr
    assert stderr.count("ingest     failed") == 1
    assert (tasks["ingest"]["state"], tasks["ingest"]["try_number"]) == ("failed", 1)  # refused: no retry
    assert {tasks[step]["state"] for step in STEPS if step != "ingest"} == {"upstream_failed"}
    assert failure is not None
    assert failure.reason.startswith(f"ingest: refused: {home}/landing/events/dt=2026-03-09 holds no files")
    assert not failure.is_blocked
    assert any("ingest: night 2026-03-09" in line for line in failure.log_lines)  # the log of the step


def test_password_and_keys_are_private(home: Path) -> None:
    environment = airflow_home.build_environment(8080)
    airflow_home.get_password()
    private = [airflow_home.folder() / "secrets.json", *airflow_home.folder().glob("*passwords*")]
    assert len(private) == 2
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
    assert airflow_home.get_password() == airflow_home.get_password() != airflow_home.USER
    assert airflow_home.build_environment(8080) == environment
