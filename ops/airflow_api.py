"""The few calls of Airflow's REST API that we need."""

from typing import Any

import requests

SECONDS = 30.0  # for one answer


class AirflowApi:
    """One user's session with an API server on this machine.

    Every call raises requests.RequestException when the server does not answer or says no.
    """

    def __init__(self, address: str, user: str, password: str) -> None:
        self._address = address
        self._credentials = {"username": user, "password": password}
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy has no business with loopback

    def log_in(self) -> None:
        """Get a token for the calls that follow."""
        token = self._call("POST", "/auth/token", json=self._credentials)["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"

    def healthy(self) -> bool:
        """Whether the server answers and database, scheduler and DAG processor are well."""
        try:
            health = self._call("GET", "/api/v2/monitor/health")
        except requests.RequestException:
            return False
        return all(
            health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor")
        )

    def knows(self, dag: str) -> bool:
        """Whether the DAG has been parsed."""
        listed = self._call("GET", "/api/v2/dags", params={"dag_id_pattern": dag})["dags"]
        return any(d["dag_id"] == dag for d in listed)

    def import_errors(self) -> list[str]:
        """Why DAG files could not be parsed."""
        return [e["stack_trace"] for e in self._call("GET", "/api/v2/importErrors")["import_errors"]]

    def pause(self, dag: str, paused: bool) -> None:
        """Stop or let go the DAG's runs."""
        self._call("PATCH", f"/api/v2/dags/{dag}", json={"is_paused": paused})

    def trigger(self, dag: str, run: str, conf: dict[str, Any]) -> None:
        """Start a run."""
        body = {"dag_run_id": run, "logical_date": None, "conf": conf}
        self._call("POST", f"/api/v2/dags/{dag}/dagRuns", json=body)

    def run_state(self, dag: str, run: str) -> str:
        """queued, running, success or failed."""
        return str(self._call("GET", f"/api/v2/dags/{dag}/dagRuns/{run}")["state"])

    def tasks(self, dag: str, run: str) -> list[dict[str, Any]]:
        """The run's task instances: task_id, state, try_number, duration (seconds), start_date, …"""
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances"
        return list(self._call("GET", path, params={"limit": 100})["task_instances"])

    def log(self, dag: str, run: str, task: str, attempt: int) -> list[dict[str, Any]]:
        """One task attempt's log, entry by entry: `event` is the line, `error_detail` why it failed."""
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}"
        return list(self._call("GET", path, params={"full_content": "true"})["content"])

    def _call(self, method: str, path: str, **more: Any) -> Any:
        answer = self._session.request(
            method, self._address + path, timeout=SECONDS, headers={"Accept": "application/json"}, **more
        )
        answer.raise_for_status()
        return answer.json()
