"""The Airflow operator that runs one step of the night as a child process."""

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from contracts import place
from contracts.errors import CHECKS_BLOCKED, DONE, REFUSED_INPUT, InputError
from ops import child

PROGRESS_SECONDS = "10"  # how often tqdm may write into a task's log


def night_of(context: Mapping[str, Any]) -> date:
    """The night of a DAG run: from the form (`night`), else the partition key of a scheduled run.

    Raises:
        InputError: neither says which, or it is not a date. No night is ever guessed from the clock.
    """
    text = context["params"].get("night") or context["dag_run"].partition_key
    if not text:
        raise InputError("the run says no night; give `night` as YYYY-MM-DD in the trigger form")
    return place.parse_day(text)


class StepOperator(BaseOperator):
    """Runs `python -m tasks.<task_id>` for the run's night and streams what it says into the task's log.

    Refused input and blocked checks fail the task for good; any other failure is retried.
    """

    _child: "subprocess.Popen[str] | None" = None

    def execute(self, context: Any) -> None:
        """Run the step.

        Raises:
            AirflowFailException: the step refused its input or the checks blocked; not retried.
            RuntimeError: the step failed.
        """
        try:
            code, last = self._run(night_of(context))
        except InputError as error:
            raise AirflowFailException(f"{self.task_id}: refused: {error}") from None
        if code in (REFUSED_INPUT, CHECKS_BLOCKED):
            raise AirflowFailException(last)
        if code != DONE:
            raise RuntimeError(f"{self.task_id} ended with exit code {code}; its last words: {last}")

    def on_kill(self) -> None:
        """Airflow ends the task (timeout, marked failed, cleared): so does the step."""
        if self._child is not None:
            child.ask_to_end(self._child)

    def _run(self, night: date) -> tuple[int, str]:
        """Exit code and last line; no credentials get into the log."""
        home = place.home()
        command = [sys.executable, "-m", f"tasks.{self.task_id}", "--night", str(night)]
        command += ["--workspace", str(home / "nights" / str(night))]
        environment = os.environ | {
            "UNDERCURRENT_HOME": str(home),
            "PYTHONUNBUFFERED": "1",
            "TQDM_MININTERVAL": PROGRESS_SECONDS,
        }
        self._child = child.start(command, place.PROJECT, environment, subprocess.PIPE)
        last = ""
        try:
            assert self._child.stdout is not None
            for line in self._child.stdout:
                if line.strip():
                    last = place.without_credentials(line.rstrip())
                    self.log.info(last)
            return self._child.wait(), last
        finally:
            child.stop(self._child)
