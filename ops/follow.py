"""Watch a DAG run: one line for each step as it ends."""

import sys
import time
from typing import Any

import requests
from tqdm import tqdm

from contracts.steps import STEPS
from ops.airflow_api import AirflowApi
from ops.supervisor import Supervisor

PATIENCE = 3600.0  # seconds for one run
PAUSE = 1.0
NOT_NOW = (requests.ConnectionError, requests.Timeout)  # the API server is being restarted


def follow(api: AirflowApi, supervisor: Supervisor, dag: str, run: str) -> str:
    """Wait until the run has ended; returns its state.

    Raises:
        ComponentDiedError: a part of Airflow keeps dying.
        TimeoutError: the run did not end in time.
    """
    until, told = time.monotonic() + PATIENCE, set[tuple[str, int]]()
    with tqdm(total=len(STEPS), desc=run, unit="step", leave=False, disable=None) as bar:
        while time.monotonic() < until:
            supervisor.watch()
            try:
                state = api.run_state(dag, run)
                _tell(bar, api.tasks(dag, run), told)
            except NOT_NOW:
                state = "unknown"
            if state in ("success", "failed"):
                return state
            time.sleep(PAUSE)
    raise TimeoutError(f"{run} did not end within {PATIENCE / 60:.0f} minutes; see Airflow's pages")


def _tell(bar: tqdm, tasks: list[dict[str, Any]], told: set[tuple[str, int]]) -> None:
    """Write what has ended since the last time, and show what is running."""
    for task in sorted(tasks, key=lambda t: t["end_date"] or ""):
        attempt = (task["task_id"], task["try_number"])
        if task["state"] in ("success", "failed", "up_for_retry") and attempt not in told:
            told.add(attempt)
            bar.write(_line(task), file=sys.stderr)
            bar.update(task["state"] == "success")
    bar.set_postfix_str(", ".join(t["task_id"] for t in tasks if t["state"] == "running"))


def _line(task: dict[str, Any]) -> str:
    return f"  {task['task_id']:<10} {task['state']:<12} {task['duration'] or 0:7.1f} s"
