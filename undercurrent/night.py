"""One night from the command line: its steps run one after another, each as the process that Airflow runs."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.errors import DONE
from core.failures import OUTCOMES, Failure, read_failure, remove_failure, write_failure
from core.paths import PROJECT_ROOT, Night
from core.text_table import format_table
from ops import process_group
from undercurrent.step_state import PlannedStep

STDERR = 2  # the file descriptor: a step writes nothing to stdout


@dataclass(frozen=True)
class StepResult:
    """How a step ended.

    Attributes:
        step: Its name.
        outcome: Done, failed, refused or blocked.
        exit_code: Its exit code. A killed step has 1.
        seconds: With the start of Python.
        reason: Why it ended early. Empty if it is done.
    """

    step: str
    outcome: str
    exit_code: int
    seconds: float
    reason: str


def run_steps(night: Night, steps: Sequence[str]) -> Iterator[StepResult]:
    """Run steps until one does not complete, and yield the result of each.

    Args:
        night: The night.
        steps: Their names, in the order of a night.
    """
    for step in steps:
        result = run_step(night, step)
        yield result
        if result.exit_code != DONE:
            return


def run_step(night: Night, step: str) -> StepResult:
    """Run one step as a child process, which writes to stderr. It ends together with this process."""
    command = [sys.executable, "-m", f"tasks.{step}", *step_options(night)]
    remove_failure(night.workspace, step)
    start = time.perf_counter()
    process = process_group.start(command, PROJECT_ROOT, os.environ, STDERR)
    try:
        code = process.wait()
    finally:
        process_group.stop(process)
    seconds = round(time.perf_counter() - start, 2)
    if code == DONE:
        return StepResult(step, "done", DONE, seconds, "")
    failure = read_failure(night.workspace, step) or _unexplained(night, step, code)
    return StepResult(step, failure.outcome, failure.exit_code, seconds, failure.reason)


def step_options(night: Night) -> list[str]:
    """Return the options of the step CLI for a night."""
    return [f"--night={night.day}", f"--workspace={night.workspace}", f"--params={night.params_path}"]


def _unexplained(night: Night, step: str, code: int) -> Failure:
    """Store and return the failure of a step that could not store one itself."""
    reason = f"killed by signal {-code}; look for a lack of memory" if code < 0 else f"exit code {code}"
    failure = Failure(code if code in OUTCOMES else 1, reason)
    write_failure(night.workspace, step, failure)
    return failure


def format_results(results: Sequence[StepResult]) -> str:
    """Return one line for each step."""
    rows = [(r.step, r.outcome, f"{r.seconds:.1f}", r.reason) for r in results]
    return format_table([("step", "outcome", "seconds", "reason"), *rows])


def format_plan(plan: Sequence[PlannedStep]) -> str:
    """Return one line for each step: what a run would read and write, and why it is not up to date."""
    rows = [
        (
            p.step,
            ", ".join(p.reads),
            ", ".join(p.writes),
            "up to date" if p.up_to_date else f"to run: {'; '.join(p.reasons)}",
        )
        for p in plan
    ]
    return format_table([("step", "reads", "writes", "state"), *rows])
