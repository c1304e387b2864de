"""A client for the calls of Airflow's REST API that this project needs."""

from collections.abc import Mapping, Sequence
from datetime import date
from http import HTTPStatus
from typing import Any

import requests

HEALTH_SECONDS = 2  # whoever asks has other work to do
TIMEOUT_SECONDS = 30.0  # of one call
TOKEN_PATH = "/auth/token"


class AirflowClient:
    """A user's session with an API server on this machine.

    Every method except `is_healthy` and `scheduler_heartbeat` raises requests.RequestException if a call
    fails.

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
        """Log in. All other methods but `is_healthy` and `scheduler_heartbeat` need it."""
        token = self._request("POST", TOKEN_PATH, json=self._credentials)["access_token"]
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

    def scheduler_heartbeat(self) -> str | None:
        """Return the time of the scheduler's newest sign of life. None: there is none, or no answer."""
        try:
            health = self._request("GET", "/api/v2/monitor/health", timeout=HEALTH_SECONDS)
        except requests.RequestException:
            return None
        return health["scheduler"]["latest_scheduler_heartbeat"]

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

    def is_paused(self, dag_id: str) -> bool:
        """Whether the DAG is paused. Its runs then stay queued."""
        return bool(self._request("GET", f"/api/v2/dags/{dag_id}")["is_paused"])

    def trigger_run(
        self, dag_id: str, run_id: str, conf: Mapping[str, Any], partition_key: str | None = None
    ) -> None:
        """Start a run of the DAG.

        Args:
            conf: the params of the run.
            partition_key: the partition of the run, so that a backfill knows that it exists.
        """
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf, "partition_key": partition_key}
        self._request("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)

    def create_backfill(
        self, dag_id: str, days: Sequence[date], conf: Mapping[str, Any], reprocess: str
    ) -> dict[str, Any]:
        """Create a backfill that runs one day after the other.

        Args:
            days: consecutive days.
            conf: the params of every run.
            reprocess: existing runs to repeat: none, failed or completed (failed ones, too).

        Returns:
            the backfill: id, created_at, …

        Raises:
            requests.HTTPError: status 409 if another backfill of the DAG is not complete.
        """
        bounds = {"from_date": f"{days[0]}T00:00:00Z", "to_date": f"{days[-1]}T00:00:00Z"}
        body = {"dag_id": dag_id, **bounds, "dag_run_conf": conf, "reprocess_behavior": reprocess}
        return dict(self._request("POST", "/api/v2/backfills", json=body | {"max_active_runs": 1}))

    def cancel_backfill(self, backfill_id: int) -> None:
        """End a backfill: its queued runs fail, and its running one goes on."""
        self._request("PUT", f"/api/v2/backfills/{backfill_id}/cancel")

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the newest runs of the DAG, at most 1,000: dag_run_id, run_type, partition_key, state, …"""
        runs: list[dict[str, Any]] = []
        for offset in range(0, 1000, 100):  # the server answers with at most 100
            params: dict[str, Any] = {"limit": 100, "offset": offset, "order_by": "-id"}
            page = self._request("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=params)["dag_runs"]
            runs += page
            if len(page) < 100:
                break
        return runs

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

    def asset_runs(self, asset: str) -> list[str]:
        """Return the ids of the runs that announced a new version of an asset."""
        # An asset that no DAG waits for is not active, but has events.
        query = {"name_pattern": asset, "only_active": "false"}
        assets = self._request("GET", "/api/v2/assets", params=query)["assets"]
        if not assets:  # no event yet
            return []
        params = {"asset_id": assets[0]["id"]}
        events = self._request("GET", "/api/v2/assets/events", params=params)["asset_events"]
        return [event["source_run_id"] for event in events]

    def approval_request(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any] | None:
        """Return what a task asks a person: subject, body, options, … None: it has not asked yet."""
        try:
            return dict(self._request("GET", _approval_path(dag_id, run_id, task_id)))
        except requests.HTTPError as error:
            if error.response.status_code == HTTPStatus.NOT_FOUND:
                return None
            raise

    def respond(self, dag_id: str, run_id: str, task_id: str, option: str) -> None:
        """Answer a task that asks a person."""
        body = {"chosen_options": [option], "params_input": {}}
        self._request("PATCH", _approval_path(dag_id, run_id, task_id), json=body)

    def _request(self, method: str, path: str, **options: Any) -> Any:
        response = self._send(method, path, **options)
        if response.status_code == HTTPStatus.UNAUTHORIZED and path != TOKEN_PATH:
            self.log_in()  # a token expires after a day, and a backfill may take longer
            response = self._send(method, path, **options)
        response.raise_for_status()
        return response.json()

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        return self._session.request(
            method,
            self._address + path,
            headers={"Accept": "application/json"},
            **{"timeout": TIMEOUT_SECONDS, **options},
        )


def _approval_path(dag_id: str, run_id: str, task_id: str) -> str:
    """Return the path of what a task asks a person. -1: the task is not mapped."""
    return f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
