"""Run steps of a night in a process: `python -m tests.support.run_steps STEP,… PID TABLE OPTIONS`.

The server with the process id PID is killed before the first commit of TABLE. Both may be empty.
"""

import os
import signal
import sys
from importlib import import_module
from typing import Any

from core import step_cli
from lake.client import Lake


def main(steps: str, server: str, table: str, options: list[str]) -> int:
    """Run steps until one fails, and return its exit code."""
    commit = Lake.commit

    def stop_server_and_commit(lake: Lake, name: str, *arguments: Any) -> int | None:
        if name == table:
            os.kill(int(server), signal.SIGKILL)
        return commit(lake, name, *arguments)

    Lake.commit = stop_server_and_commit  # type: ignore[method-assign]
    codes = (
        step_cli.main(step, import_module(f"tasks.{step}").run, None, options) for step in steps.split(",")
    )
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], sys.argv[4:]))
