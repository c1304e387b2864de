"""The Airflow operators that run a step or a command of the project as a child process."""

import difflib
import json
import os
import subprocess
import sys
import textwrap
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, AssetAlias, BaseHook, BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from core import paths
from core.errors import CHECKS_BLOCKED, DONE, REFUSED_INPUT, InputError
from core.step_graph import LAKE_HALF
from ops import night_results, process_group, telemetry

PROGRESS_SECONDS = "10"  # how often tqdm may write into a task's log
DISTRIBUTED_STEPS = ("align", "train")  # torchrun can share them between GPUs
SPARK_STEPS = ("clean", "check", "sequences", "snapshot")
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")  # a folder for each
LOG_WIDTH = 100  # Airflow's log page cuts longer lines off
TAIL_LINES = 20  # of the output, for alerts
# JSON schema of a night in a trigger form. Empty is allowed.
NIGHT_SCHEMA = {"type": ["null", "string"], "format": "date", "pattern": r"^\d{4}-\d{2}-\d{2}$"}


def night_of(context: Mapping[str, Any]) -> date:
    """Return the night of a DAG run.

    It is the partition key of a scheduled or backfilled run, or the param `night` of the trigger form. The
    clock is never used.

    Args:
        context: Airflow's context of the task.

    Raises:
        InputError: the run has neither or two different ones, or the value is not a date.
    """
    key, param = context["dag_run"].partition_key, context["params"].get("night")
    if key and param and key != param:
        raise InputError(f"night is {param!r}, but the run's partition key is {key!r}; leave night empty")
    if not (key or param):
        raise InputError("the run has no night; set `night` to YYYY-MM-DD in the trigger form")
    return paths.parse_day(key or param, "partition key" if key else "night")


def check_form(context: Mapping[str, Any]) -> None:
    """Check that the trigger form knows every param of the run. Airflow itself ignores a misspelled one.

    Args:
        context: Airflow's context of the task.

    Raises:
        InputError: a param is unknown.
    """
    conf, known = context["dag_run"].conf or {}, sorted(context["dag"].params)
    if unknown := sorted(set(conf) - set(known)):
        guess = difflib.get_close_matches(unknown[0], known, n=1) or known
        raise InputError(
            f"{unknown[0]} is no parameter of the DAG {context['dag'].dag_id}; write {' or '.join(guess)}"
        )


class ChildProcessOperator(BaseOperator):
    """Runs a module of the project and copies its output to the task's log.

    Refused input and blocked checks fail the task without a retry. Any other failure is retried.

    Attributes:
        last_lines: the end of the output, without credentials.
    """

    _process: "subprocess.Popen[str] | None" = None

    def arguments(self, context: Any) -> list[str]:
        """Return the module and its arguments, for `python -m`.

        Args:
            context: Airflow's context of the task.
        """
        raise NotImplementedError

    def variables(self) -> dict[str, str]:
        """Return the environment variables that the module gets in addition."""
        return {}

    def execute(self, context: Any) -> None:
        """Run the module.

        Raises:
            AirflowFailException: it refused its input, or the data checks blocked the night.
            RuntimeError: it failed in another way.
        """
        try:
            arguments = self.arguments(context)
        except InputError as error:
            raise AirflowFailException(self._log_reason(f"{self.task_id}: refused: {error}")) from None
        exit_code = self._run_module(arguments)
        last_line = self.last_lines[-1] if self.last_lines else ""
        if exit_code in (REFUSED_INPUT, CHECKS_BLOCKED):
            raise AirflowFailException(self._log_reason(last_line))
        if exit_code != DONE:
            raise RuntimeError(
                self._log_reason(
                    f"{self.task_id} failed with exit code {exit_code}; last line of its output: {last_line}"
                )
            )

    def on_kill(self) -> None:
        """End the process, because Airflow ends the task (timeout, marked as failed, cleared)."""
        if self._process is not None:
            process_group.terminate(self._process)

    def _log_reason(self, reason: str) -> str:
        """Log why the task fails in lines that Airflow's log page shows whole, and return it."""
        for line in textwrap.wrap(reason, LOG_WIDTH, break_on_hyphens=False):
            self.log.error(line)
        return reason

    def _run_module(self, arguments: Sequence[str]) -> int:
        """Run the module and return its exit code."""
        self.last_lines: deque[str] = deque(maxlen=TAIL_LINES)
        environment = os.environ | {
            "UNDERCURRENT_HOME": str(paths.home()),
            "PYTHONUNBUFFERED": "1",
            "TQDM_MININTERVAL": PROGRESS_SECONDS,
            **self.variables(),
        }
        command = [sys.executable, "-m", *arguments]
        self._process = process_group.start(command, paths.PROJECT_ROOT, environment, subprocess.PIPE)
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                if line.strip():
                    text = paths.redact_credentials(line.rstrip())
                    self.last_lines.append(_message(text))
                    self.log.info(text)
            return self._process.wait()
        finally:
            process_group.stop(self._process)


def _message(line: str) -> str:
    """Return what a line says. With UNDERCURRENT_LOG_FORMAT=json it is the field `message` of an object."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, TypeError, KeyError):
        return line


class StepOperator(ChildProcessOperator):
    """Runs `python -m tasks.<task_id>` for the run's night, unless the run's params leave the step out."""

    def arguments(self, context: Any) -> list[str]:
        """Return the step and its night. See `ChildProcessOperator.arguments`.

        Raises:
            AirflowSkipException: the run's params leave the step out.
            InputError: the night is missing, it is recorded and `force` is off, or a param is unknown.
        """
        check_form(context)
        night = night_of(context)
        arguments = [f"tasks.{self.task_id}", "--night", str(night), "--workspace", str(workspace_of(night))]
        if self.task_id in DISTRIBUTED_STEPS and (gpus := count_gpus()) > 1:
            torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}", "-m"]
            arguments = torchrun + arguments
        if params_path := os.environ.get("UNDERCURRENT_PARAMS"):
            arguments += ["--params", params_path]
        if reason := reason_to_skip(self.task_id, night, context):
            raise AirflowSkipException(reason)
        if context["params"].get("dry_run"):
            raise AirflowSkipException(f"dry run of: python -m {' '.join(arguments)}")
        return arguments

    def variables(self) -> dict[str, str]:
        """Return the Spark master of the connection that UNDERCURRENT_SPARK_CONNECTION names."""
        connection_id = os.environ.get("UNDERCURRENT_SPARK_CONNECTION")
        if not connection_id or self.task_id not in SPARK_STEPS:
            return {}
        connection = BaseHook.get_connection(connection_id)
        port = f":{connection.port}" if connection.port else ""
        return {"UNDERCURRENT_SPARK_MASTER": f"{connection.host}{port}"}

    def execute(self, context: Any) -> None:
        """Run the step, announce a new champion, and write metrics if UNDERCURRENT_METRICS_FOLDER is set."""
        super().execute(context)
        workspace = workspace_of(night_of(context))
        for alias in self.outlets:
            if isinstance(alias, AssetAlias) and night_results.read_promotion(workspace).is_new_champion:
                context["outlet_events"][alias].add(Asset(alias.name))
        if folder := os.environ.get("UNDERCURRENT_METRICS_FOLDER"):
            telemetry.write_metrics(workspace, self.task_id, Path(folder))

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return the tables that the step read and wrote. Airflow calls it if OpenLineage is on."""
        night = night_of(task_instance.get_template_context())
        return telemetry.step_lineage(workspace_of(night), self.task_id)


def count_gpus() -> int:
    """Return the number of NVIDIA GPUs that a step sees, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip()])
    return len(list(NVIDIA_GPUS.iterdir())) if NVIDIA_GPUS.is_dir() else 0


def reason_to_skip(step: str, night: date, context: Mapping[str, Any]) -> str | None:
    """Return why a run leaves a step out, or None if the step must run.

    Raises:
        InputError: the night is recorded, a person triggered the run, and `force` is off.
    """
    params, run = context["params"], context["dag_run"]
    if step not in params.get("steps", [step]):
        return "the param `steps` leaves it out"
    first = params.get("model_half_from")
    if first and step not in LAKE_HALF and night < paths.parse_day(first, "model_half_from"):
        return f"the model half runs from night {first} on"
    if params.get("force") or run.clear_number or not _recorded_before(night, run.start_date):
        return None
    if run.run_type == "manual":
        raise InputError(
            f"night {night} is recorded already; set `force` in the trigger form to run it again: it may get"
            " another model, and its record gets a new revision"
        )
    return f"night {night} is recorded already, and `force` is off"


def _recorded_before(night: date, moment: datetime) -> bool:
    """Whether an earlier run recorded the night. The present run may record it too, but later."""
    manifest = workspace_of(night) / "run_manifests" / "record.json"
    return manifest.exists() and datetime.fromtimestamp(manifest.stat().st_mtime, UTC) < moment


def workspace_of(night: date | str) -> Path:
    """Return the folder of a night's files."""
    return paths.home() / "nights" / str(night)


class EmbedShardOperator(ChildProcessOperator):
    """Runs `python -m tasks.embed` for one shard of the backlog.

    Args:
        shard: SHARD/SHARDS, such as 2/8.
    """

    def __init__(self, shard: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.shard = shard

    def arguments(self, context: Any) -> list[str]:
        """Return the step, and a folder of the shard's own. See `ChildProcessOperator.arguments`."""
        workspace = paths.home() / "embed_backlog" / self.shard.replace("/", "-of-")
        return ["tasks.embed", "--night", str(night_of(context)), "--workspace", str(workspace)]

    def variables(self) -> dict[str, str]:
        """Return the shard. See `ChildProcessOperator.variables`."""
        return {"UNDERCURRENT_EMBED_SHARD": self.shard}


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
