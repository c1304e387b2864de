"""How a command meets the console: one sentence for an error, an exit code, text or JSON."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar

import typer

from core import logs, step_cli
from core.errors import DONE, FAILED, REFUSED_INPUT, InputError, ServiceUnavailableError, explain_system_error

Result = TypeVar("Result")


def run_command(
    command: str,
    action: Callable[[], int | None],
    failures: tuple[type[Exception], ...] = (ServiceUnavailableError, FloatingPointError),
) -> None:
    """Run a command, then exit. An error is printed as one sentence without credentials.

    Args:
        command: Name in the message.
        action: Returns the exit code. None is 0.
        failures: Errors that are reported in one sentence, in addition to `InputError`. Training raises
            `FloatingPointError`.
    """
    sys.excepthook = step_cli.print_redacted_traceback
    try:
        logs.start(command)
        code = action() or DONE
    except InputError as error:
        logs.write(f"{command}: refused: {error}", "ERROR")
        code = REFUSED_INPUT
    except failures as error:
        logs.write(f"{command}: failed: {error}", "ERROR")
        code = FAILED
    except Exception as error:
        if not (reason := explain_system_error(error)):
            raise
        logs.write(f"{command}: failed: {reason}", "ERROR")
        code = FAILED
    raise typer.Exit(code)


def print_result(result: Result, format_text: Callable[[Result], str], as_json: bool) -> None:
    """Print a result, as text or as JSON."""
    if as_json:
        print_json(result)
    else:
        typer.echo(format_text(result))


def print_json(value: Any) -> None:
    """Print one JSON object. Dataclasses become objects, and other values without a JSON form their text."""
    typer.echo(json.dumps(value, indent=2, default=_to_json, ensure_ascii=False))


def _to_json(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
