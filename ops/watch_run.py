"""Watch a DAG run and print one line for each step that ends."""

import sys
import time
from typing import Any

import requests
from tqdm import tqdm

from core.step_graph import STEPS
from ops.airflow_api import AirflowClient
from ops.supervisor import Supervisor

TIMEOUT_SECONDS = 3600.0  # of one run
POLL_SECONDS = 1.0
TEMPORARY_ERRORS = (requests.ConnectionError, requests.Timeout)  # the API server restarts


def watch_run(
    api: AirflowClient, supervisor: Supervisor, dag_id: str, run_id: str, timeout: float = TIMEOUT_SECONDS
) -> str:
    """Wait for the end of a run and print its progress.

    Args:
        supervisor: keeps Airflow running meanwhile.
        timeout: seconds.

    Returns:
        the state of the run: success or failed.

    Raises:
        ComponentDiedError: a component of Airflow keeps dying.
        TimeoutError: the run did not end within `timeout`.
    """
    deadline, reported = time.monotonic() + timeout, set[tuple[str, int]]()
    with tqdm(total=len(STEPS), desc=run_id, unit="step", leave=False, disable=None) as bar:
        while time.monotonic() < deadline:
            supervisor.restart_dead()
            try:
                state = api.run_state(dag_id, run_id)
                _report_progress(bar, api.task_instances(dag_id, run_id), reported)
            except TEMPORARY_ERRORS:
                state = "unknown"
            if state in ("success", "failed"):
                return state
            time.sleep(POLL_SECONDS)
    raise TimeoutError(f"{run_id} did not end within {timeout / 60:.0f} minutes; see its page in Airflow")


def _report_progress(bar: tqdm, tasks: list[dict[str, Any]], reported: set[tuple[str, int]]) -> None:
    """Print the attempts that ended since the last call, and show which steps run."""
    for task in sorted(tasks, key=lambda t: t["end_date"] or ""):
        attempt = (task["task_id"], task["try_number"])
        if task["state"] in ("success", "failed", "up_for_retry") and attempt not in reported:
            reported.add(attempt)
            bar.write(_format_task(task), file=sys.stderr)
            bar.update(task["state"] == "success")
    bar.set_postfix_str(", ".join(t["task_id"] for t in tasks if t["state"] == "running"))


def _format_task(task: dict[str, Any]) -> str:
    return f"  {task['task_id']:<10} {task['state']:<12} {task['duration'] or 0:7.1f} s"
