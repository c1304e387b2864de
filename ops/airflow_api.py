"""A client for the calls of Airflow's REST API that this project needs."""

from typing import Any

import requests

TIMEOUT_SECONDS = 30.0  # of one call


class AirflowClient:
    """A user's session with an API server on this machine.

    Every method except `is_healthy` raises requests.RequestException if a call fails.

    Args:
        address: address of the API server, such as http://127.0.0.1:8080.
        user, password: the login.
    """

    def __init__(self, address: str, user: str, password: str) -> None:
        self._address = address
        self._credentials = {"username": user, "password": password}
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy for loopback

    def log_in(self) -> None:
        """Log in. All other methods but `is_healthy` need it."""
        token = self._request("POST", "/auth/token", json=self._credentials)["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    def is_healthy(self) -> bool:
        """Whether the server answers and database, scheduler and DAG processor are healthy."""
        try:
            health = self._request("GET", "/api/v2/monitor/health")
        except requests.RequestException:
            return False
        return all(
            health[component]["status"] == "healthy"
            for component in ("metadatabase", "scheduler", "dag_processor")
        )

    def has_dag(self, dag_id: str) -> bool:
        """Whether Airflow has parsed the DAG."""
        dags = self._request("GET", "/api/v2/dags", params={"dag_id_pattern": dag_id})["dags"]
        return any(d["dag_id"] == dag_id for d in dags)

    def import_errors(self) -> list[str]:
        """Return the stack traces of the DAG files that Airflow could not parse."""
        return [e["stack_trace"] for e in self._request("GET", "/api/v2/importErrors")["import_errors"]]

    def set_paused(self, dag_id: str, paused: bool) -> None:
        """Pause or unpause the DAG."""
        self._request("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": paused})

    def trigger_run(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """Start a run of the DAG.

        Args:
            conf: the params of the run.
        """
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        self._request("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run: queued, running, success or failed."""
        return str(self._request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the run's task instances: task_id, state, try_number, duration (seconds), start_date, …"""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return list(self._request("GET", path, params={"limit": 100})["task_instances"])

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int) -> list[dict[str, Any]]:
        """Return the log entries of one attempt: `event` is the line, `error_detail` the exceptions."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        return list(self._request("GET", path, params={"full_content": "true"})["content"])

    def _request(self, method: str, path: str, **options: Any) -> Any:
        response = self._session.request(
            method,
            self._address + path,
            timeout=TIMEOUT_SECONDS,
            headers={"Accept": "application/json"},
            **options,
        )
        response.raise_for_status()
        return response.json()
