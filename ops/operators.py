"""The Airflow operator that runs one step of the night as a child process."""

import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from core import paths
from core.errors import CHECKS_BLOCKED, DONE, REFUSED_INPUT, InputError
from ops import process_group

PROGRESS_SECONDS = "10"  # how often tqdm may write into a task's log


def night_of(context: Mapping[str, Any]) -> date:
    """Return the night of a DAG run.

    It is the param `night` of the trigger form, else the partition key of a scheduled run. The clock is never
    used.

    Args:
        context: Airflow's context of the task.

    Raises:
        InputError: the run has neither, or the value is not a date.
    """
    text = context["params"].get("night") or context["dag_run"].partition_key
    if not text:
        raise InputError("the run has no night; set `night` to YYYY-MM-DD in the trigger form")
    return paths.parse_day(text)


class StepOperator(BaseOperator):
    """Runs `python -m tasks.<task_id>` for the run's night and copies its output to the task's log.

    Refused input and blocked checks fail the task without a retry. Any other failure is retried.
    """

    _process: "subprocess.Popen[str] | None" = None

    def execute(self, context: Any) -> None:
        """Run the step.

        Raises:
            AirflowFailException: the step refused its input, or the data checks blocked the night.
            RuntimeError: the step failed in another way.
        """
        try:
            exit_code, last_line = self._run_step(night_of(context))
        except InputError as error:
            raise AirflowFailException(f"{self.task_id}: refused: {error}") from None
        if exit_code in (REFUSED_INPUT, CHECKS_BLOCKED):
            raise AirflowFailException(last_line)
        if exit_code != DONE:
            raise RuntimeError(
                f"{self.task_id} failed with exit code {exit_code}; last line of its output: {last_line}"
            )

    def on_kill(self) -> None:
        """End the step, because Airflow ends the task (timeout, marked as failed, cleared)."""
        if self._process is not None:
            process_group.terminate(self._process)

    def _run_step(self, night: date) -> tuple[int, str]:
        """Run the step and return its exit code and last line, without credentials."""
        home = paths.home()
        command = [sys.executable, "-m", f"tasks.{self.task_id}", "--night", str(night)]
        command += ["--workspace", str(home / "nights" / str(night))]
        environment = os.environ | {
            "UNDERCURRENT_HOME": str(home),
            "PYTHONUNBUFFERED": "1",
            "TQDM_MININTERVAL": PROGRESS_SECONDS,
        }
        self._process = process_group.start(command, paths.PROJECT_ROOT, environment, subprocess.PIPE)
        last_line = ""
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                if line.strip():
                    last_line = paths.redact_credentials(line.rstrip())
                    self.log.info(last_line)
            return self._process.wait(), last_line
        finally:
            process_group.stop(self._process)
