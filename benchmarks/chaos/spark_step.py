"""Run a step of the lake half on Spark, however small its inputs are.

Command: `python -m benchmarks.chaos.spark_step STEP OPTIONS`, with the options of the step.
"""

import sys
from functools import partial
from importlib import import_module

from core import step_cli
from spark_jobs import exchange
from tasks import check, ingest


def main(step: str, options: list[str]) -> int:
    """Run the step, and return its exit code."""
    ingest.MIN_SPARK_BYTES, exchange.MAX_BYTES_IN_PROCESS = 0, -1
    check.NightTables = partial(check.NightTables, max_bytes_in_process=-1)  # type: ignore[assignment, misc]
    return step_cli.main(step, import_module(f"tasks.{step}").run, None, options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
