"""The console script `undercurrent`. Its commands are in `undercurrent.commands`, one file for each section.

A command imports the module that does its work when it runs. So `--help` and completion answer at once.
"""

from typing import Any

import typer
from typer.core import TyperGroup

from undercurrent.commands import data, models, nights


class CommandSections(TyperGroup):
    """The group of all commands. Its help lists them by section, in the order of registration."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the sections. A command without one is listed under Commands."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            section = getattr(command, "rich_help_panel", None) or "Commands"
            sections.setdefault(section, []).append(
                (name, command.get_short_help_str(100) if command else "")
            )
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)


app = typer.Typer(
    cls=CommandSections,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Run and watch the nights, and look after models and data.\n\nFirst `undercurrent doctor`, then"
    " `undercurrent night --date YYYY-MM-DD`.",
    epilog="Exit codes: 0 done, 1 failed, 2 refused input, 3 checks blocked the night.",
)
for section in (nights, models, data):
    app.add_typer(section.app)
