"""What became of a run: Airflow's word, the verdict's and the receipts', and the champion's in MLflow."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient

from contracts import place
from ops import results
from ops.airflow_api import AirflowApi
from ops.results import UnreadableError

MODELS = ("challenger", "champion", "popularity", "trending", "itemcf")
WORDS = {True: "promote", False: "refuse", None: "-"}


class FaultError(RuntimeError):
    """A run ended in a way that neither the checks nor the gate account for."""


@dataclass(frozen=True)
class Stop:
    """The step that ended a run early, what it said, and its log."""

    step: str
    why: str
    log: tuple[str, ...]

    @property
    def blocked(self) -> bool:
        """Whether the data checks stopped it, and not a fault."""
        return self.why.startswith(f"{self.step}: blocked: ")


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        dag: the state of the DAG run in Airflow.
        stopped_at: the step that ended it early, None when nothing did.
        promote: what the gate decided, None when the night did not get so far.
        why: the verdict's summary, or the reason of the stop.
        champion: the champion's version in MLflow afterwards, None while there is none.
        ndcg: model -> NDCG on the newest day, at the cut-off that the gate decides by.
    """

    dag: str
    stopped_at: str | None
    promote: bool | None
    why: str
    champion: str | None
    ndcg: dict[str, float]


class Row(NamedTuple):
    """A run in the table. note: what its input was like; before: the champion before it; seconds: it took."""

    night: str
    note: str
    before: str | None
    outcome: Outcome
    seconds: float


def of_run(api: AirflowApi, dag: str, run: str, workspace: Path) -> Outcome:
    """What became of an ended run whose files are in `workspace`.

    Raises:
        FaultError: it ended in a fault, or its receipts and MLflow do not agree; carries the log's end.
    """
    state = api.run_state(dag, run)
    if state == "success":
        return _completed(state, workspace)
    stop = why_stopped(api, dag, run)
    if stop is None or not stop.blocked:
        raise FaultError(_fault(run, state, stop))
    return Outcome(state, stop.step, None, stop.why, champion(), {})


def why_stopped(api: AirflowApi, dag: str, run: str) -> Stop | None:
    """The first step that failed, None when none did."""
    failed = [task for task in api.tasks(dag, run) if task["state"] == "failed"]
    if not failed:
        return None
    task = min(failed, key=lambda t: t["end_date"])
    entries = api.log(dag, run, task["task_id"], task["try_number"])
    errors = [error["exc_value"] for entry in entries for error in entry.get("error_detail") or []]
    lines = tuple(str(entry["event"]) for entry in entries)
    return Stop(task["task_id"], errors[-1] if errors else "Airflow ended it; see its log", lines)


def champion() -> str | None:
    """The version that the alias `champion` points at in MLflow, None when there is none."""
    uri = place.tracking_uri()
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return None  # asking would make an empty database
    model = os.environ.get("UNDERCURRENT_MODEL", "undercurrent")
    found = MlflowClient(uri, uri).search_registered_models(f"name = '{model}'")
    version = found[0].aliases.get("champion") if found else None
    return str(version) if version else None


def table(rows: Sequence[Row]) -> str:
    """One line a run, and under them why each ended so."""
    head = (
        "night",
        "input",
        "DAG",
        "stopped at",
        "verdict",
        "champion",
        *(f"NDCG {m}" for m in MODELS),
        "time",
    )
    lines = _aligned([head, *map(_cells, rows)])
    rule = "-" * max(map(len, lines))
    reasons = [f"{row.night} ({row.note}): {row.outcome.why}" for row in rows]
    return "\n".join([lines[0], rule, *lines[1:], rule, *reasons])


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in padded]


def _completed(state: str, workspace: Path) -> Outcome:
    """The outcome of a run whose steps are all done."""
    try:
        verdict, ndcg = results.verdict(workspace), results.ndcg(workspace)
        told = results.promotion(workspace).facts.champion
    except UnreadableError as error:
        raise FaultError(f"{workspace}/{error}") from None
    now = champion()
    if told != now:
        raise FaultError(f"promote's receipt in {workspace} says champion {told}, MLflow says {now}")
    return Outcome(state, None, verdict.promote, verdict.summary, now, ndcg)


def _fault(run: str, state: str, stop: Stop | None) -> str:
    if stop is None:
        return f"{run} ended as {state}, and no step of it failed"
    tail = "\n".join(f"    {line}" for line in stop.log[-40:])
    return f"{run} failed at {stop.step}: {stop.why}\n  the end of its log:\n{tail}"


def _cells(row: Row) -> tuple[str, ...]:
    outcome = row.outcome
    scores = [f"{outcome.ndcg[m]:.4f}" if m in outcome.ndcg else "-" for m in MODELS]
    moved = f"{row.before or 'none'} -> {outcome.champion or 'none'}"
    took = f"{int(row.seconds) // 60}:{int(row.seconds) % 60:02d}"
    stopped, verdict = outcome.stopped_at or "-", WORDS[outcome.promote]
    return (row.night, row.note, outcome.dag, stopped, verdict, moved, *scores, took)
