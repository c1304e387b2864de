"""The Airflow operators that run a step or a command of the project as a child process."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
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


class ChildProcessOperator(BaseOperator):
    """Runs a module of the project and copies its output to the task's log.

    Refused input and blocked checks fail the task without a retry. Any other failure is retried.
    """

    _process: "subprocess.Popen[str] | None" = None

    def arguments(self, context: Any) -> list[str]:
        """Return the module and its arguments, for `python -m`.

        Args:
            context: Airflow's context of the task.
        """
        raise NotImplementedError

    def execute(self, context: Any) -> None:
        """Run the module.

        Raises:
            AirflowFailException: it refused its input, or the data checks blocked the night.
            RuntimeError: it failed in another way.
        """
        try:
            exit_code, last_line = self._run_module(self.arguments(context))
        except InputError as error:
            raise AirflowFailException(f"{self.task_id}: refused: {error}") from None
        if exit_code in (REFUSED_INPUT, CHECKS_BLOCKED):
            raise AirflowFailException(last_line)
        if exit_code != DONE:
            raise RuntimeError(
                f"{self.task_id} failed with exit code {exit_code}; last line of its output: {last_line}"
            )

    def on_kill(self) -> None:
        """End the process, because Airflow ends the task (timeout, marked as failed, cleared)."""
        if self._process is not None:
            process_group.terminate(self._process)

    def _run_module(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run the module and return its exit code and last line, without credentials."""
        environment = os.environ | {
            "UNDERCURRENT_HOME": str(paths.home()),
            "PYTHONUNBUFFERED": "1",
            "TQDM_MININTERVAL": PROGRESS_SECONDS,
        }
        command = [sys.executable, "-m", *arguments]
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


class StepOperator(ChildProcessOperator):
    """Runs `python -m tasks.<task_id>` for the run's night."""

    def arguments(self, context: Any) -> list[str]:
        """Return the step and its night. See `ChildProcessOperator.arguments`."""
        night = night_of(context)
        workspace = paths.home() / "nights" / str(night)
        return [f"tasks.{self.task_id}", "--night", str(night), "--workspace", str(workspace)]


class CommandOperator(ChildProcessOperator):
    """Runs `undercurrent <task_id>`.

    Args:
        options: its options. Airflow fills in templates, such as `{{ params.user_ids }}`.
    """

    template_fields = ("options",)

    def __init__(self, options: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(**settings)
        self.options = options

    def arguments(self, context: Any) -> list[str]:
        """Return the command and its options. See `ChildProcessOperator.arguments`."""
        return ["undercurrent", self.task_id, *self.options]
