"""The console script as a user calls it."""

from undercurrent.cli import app


def undercurrent(*arguments: str) -> int:
    """Run `undercurrent …`; returns the exit code."""
    try:
        app(list(arguments), prog_name="undercurrent")
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0
