"""A step killed at the worst moment: a real SIGKILL between writing a file and renaming it."""

import signal
import subprocess
import sys

from core.paths import PROJECT_ROOT, Night, write_home_marker

CHILD = """
import os, signal, sys
from importlib import import_module
from pathlib import Path
from core import step_cli
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
name = sys.argv[1]
sys.exit(step_cli.main(name, import_module(f"tasks.{name}").run, None, sys.argv[2:]))
"""


def killed(step: str, night: Night) -> None:
    """Run a step in a process of its own that dies so; what it leaves is there afterwards."""
    arguments = [
        "--night",
        str(night.day),
        "--workspace",
        str(night.workspace),
        "--params",
        str(night.params_path),
    ]
    write_home_marker()  # a home that has its mark is not marked again, which would be the first renaming
    completed = subprocess.run(
        [sys.executable, "-c", CHILD, step, *arguments], cwd=PROJECT_ROOT, capture_output=True
    )
    assert completed.returncode == -signal.SIGKILL, completed.stderr.decode()
    assert [path.name for path in (night.workspace / step).iterdir() if path.name.startswith(".")]
