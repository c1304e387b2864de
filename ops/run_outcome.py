"""Read how a run ended from Airflow, the verdict, the run manifests and MLflow; format the demo's table."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient

from core import paths, text_table
from ops import night_results
from ops.airflow_api import AirflowClient
from ops.night_results import UnreadableFileError

MODELS = ("challenger", "champion", "trending", "itemcf", "ease_trending")
DECISION_LABELS = {True: "promoted", False: "refused", None: "-"}


class UnexpectedFailureError(RuntimeError):
    """A run failed although the data checks did not block it, or its run manifests and MLflow disagree."""


@dataclass(frozen=True)
class StepFailure:
    """A failed step.

    Attributes:
        step: its name.
        reason: its last error.
        log_lines: the lines of its log.
    """

    step: str
    reason: str
    log_lines: tuple[str, ...]

    @property
    def is_blocked(self) -> bool:
        """Whether the data checks blocked the night."""
        return self.reason.startswith(f"{self.step}: blocked: ")


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        dag_state: state of the DAG run in Airflow.
        stopped_at: step that ended the run early, None if none did.
        promote: decision of the gate, None if the run did not reach it.
        reason: summary of the verdict, or why the run stopped.
        champion_version: the champion's version in MLflow after the run, None if there is no champion.
        ndcg: model -> the gate's primary metric, NDCG on the test day.
    """

    dag_state: str
    stopped_at: str | None
    promote: bool | None
    reason: str
    champion_version: str | None
    ndcg: dict[str, float]


class OutcomeRow(NamedTuple):
    """A row of the table.

    Attributes:
        night: YYYY-MM-DD.
        input_state: unchanged, corrupted or repaired.
        champion_before: the champion's version before the run, None if there was no champion.
        outcome: how the run ended.
        seconds: duration of the run.
    """

    night: str
    input_state: str
    champion_before: str | None
    outcome: RunOutcome
    seconds: float


def read_outcome(api: AirflowClient, dag_id: str, run_id: str, workspace: Path) -> RunOutcome:
    """Return the outcome of a run that has ended.

    Args:
        workspace: folder of the night.

    Raises:
        UnexpectedFailureError: the run failed without being blocked, or its run manifests contradict MLflow.
            The message holds the end of the log.
    """
    state = api.run_state(dag_id, run_id)
    if state == "success":
        return _read_completed(state, workspace)
    failure = find_failure(api, dag_id, run_id)
    if failure is None or not failure.is_blocked:
        raise UnexpectedFailureError(_format_failure(run_id, state, failure))
    return RunOutcome(state, failure.step, None, failure.reason, champion_version(), {})


def find_failure(api: AirflowClient, dag_id: str, run_id: str) -> StepFailure | None:
    """Return the first step that failed, None if none did."""
    failed = [task for task in api.task_instances(dag_id, run_id) if task["state"] == "failed"]
    if not failed:
        return None
    task = min(failed, key=lambda t: t["end_date"])
    entries = api.task_log(dag_id, run_id, task["task_id"], task["try_number"])
    errors = [error["exc_value"] for entry in entries for error in entry.get("error_detail") or []]
    lines = tuple(str(entry["event"]) for entry in entries)
    return StepFailure(
        task["task_id"], errors[-1] if errors else "Airflow ended the task; see its log", lines
    )


def champion_version() -> str | None:
    """Return the champion's version in MLflow, None if there is no champion.

    The model's name is read here, too, because `ops` may not import `registry`.
    """
    uri = paths.tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return None  # MLflow would create an empty database
    model = os.environ.get("UNDERCURRENT_MODEL", "undercurrent")
    registered_models = MlflowClient(uri, uri).search_registered_models(f"name = '{model}'")
    version = registered_models[0].aliases.get("champion") if registered_models else None
    return str(version) if version else None


def format_table(rows: Sequence[OutcomeRow]) -> str:
    """Format a table with one line for each run, followed by the reason of each outcome."""
    header = (
        "night",
        "input",
        "DAG run",
        "stopped at",
        "gate",
        "champion",
        *(f"NDCG {m}" for m in MODELS),
        "min:s",
    )
    lines = text_table.format_table([header, *map(_format_cells, rows)]).splitlines()
    separator = "-" * max(map(len, lines))
    reasons = [f"{row.night} ({row.input_state}): {row.outcome.reason}" for row in rows]
    return "\n".join([lines[0], separator, *lines[1:], separator, "Reasons:", *reasons])


def _read_completed(state: str, workspace: Path) -> RunOutcome:
    """Return the outcome of a run whose steps all succeeded."""
    try:
        verdict, ndcg = night_results.read_verdict(workspace), night_results.read_ndcg(workspace)
        manifest_champion = night_results.read_promotion(workspace).facts.champion
    except UnreadableFileError as error:
        raise UnexpectedFailureError(f"{workspace}/{error}") from None
    served_version = champion_version()
    if manifest_champion != served_version:
        raise UnexpectedFailureError(
            f"{workspace}/run_manifests/promote.json says champion {manifest_champion}, "
            f"MLflow says {served_version}"
        )
    return RunOutcome(state, None, verdict.promote, verdict.summary, served_version, ndcg)


def _format_failure(run_id: str, state: str, failure: StepFailure | None) -> str:
    if failure is None:
        return f"{run_id} ended in state {state}, but none of its steps failed"
    tail = "\n".join(f"    {line}" for line in failure.log_lines[-40:])
    return f"{run_id} failed at {failure.step}: {failure.reason}\n  end of its log:\n{tail}"


def _format_cells(row: OutcomeRow) -> tuple[str, ...]:
    outcome = row.outcome
    scores = [f"{outcome.ndcg[m]:.4f}" if m in outcome.ndcg else "-" for m in MODELS]
    champion_change = f"{row.champion_before or 'none'} -> {outcome.champion_version or 'none'}"
    duration = f"{int(row.seconds) // 60}:{int(row.seconds) % 60:02d}"
    stopped, gate = outcome.stopped_at or "-", DECISION_LABELS[outcome.promote]
    return (
        row.night,
        row.input_state,
        outcome.dag_state,
        stopped,
        gate,
        champion_change,
        *scores,
        duration,
    )
