"""Print the help of every command as JSON: command as typed -> help.

python scripts/docs_help.py

One process asks all commands, because each would import torch and Spark anew. The lines are long: the caller
wraps them.
"""

import io
import json
import os
import re
import runpy
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from typer.main import get_group  # noqa: E402

from core.step_graph import STEPS  # noqa: E402
from undercurrent.cli import app  # noqa: E402

WIDTH = 1000
SUBCOMMAND = re.compile(r"^    (\w[\w-]*) {2,}\S", flags=re.MULTILINE)


def ask(run: Callable[[], object]) -> str:
    """What a command prints before it exits."""
    out = io.StringIO()
    with redirect_stdout(out), suppress(SystemExit):
        run()
    return out.getvalue()


def ask_script(*arguments: str) -> str:
    """Help of the console script `undercurrent`."""
    return ask(lambda: app([*arguments, "--help"], prog_name="undercurrent", max_content_width=WIDTH))


def ask_module(module: str, *arguments: str) -> str:
    """Help of a module that `python -m` runs."""
    sys.argv = [module, *arguments, "--help"]
    return ask(lambda: runpy.run_module(module, run_name="__main__", alter_sys=True))


def commands() -> dict[str, str]:
    """The help of every command and step."""
    texts = {"undercurrent": ask_script()}
    texts |= {f"undercurrent {name}": ask_script(name) for name in get_group(app).commands}
    simulator = ask_module("simulator")
    texts["python -m simulator"] = simulator
    for name in SUBCOMMAND.findall(simulator):
        texts[f"python -m simulator {name}"] = ask_module("simulator", name)
    return texts | {f"python -m tasks.{step}": ask_module(f"tasks.{step}") for step in STEPS}


if __name__ == "__main__":
    os.environ |= {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    json.dump(commands(), sys.stdout)
