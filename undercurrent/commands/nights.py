"""Commands about nights: their steps, a run, how they ended, and the machine that they need."""

import signal
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from importlib import import_module
from typing import Annotated

import typer

from core import logs, step_cli
from core.config import load_params
from core.errors import DONE, FAILED
from core.paths import Night
from core.step_graph import STEPS
from undercurrent.commands.console import print_json, print_result, run_command
from undercurrent.commands.options import (
    DEFAULT_PARAMS,
    ParamsOption,
    WorkspaceOption,
    chosen_night,
)

SECTION = "Nights"
Step = StrEnum("Step", {step: step for step in STEPS})  # type: ignore[misc]  # its values are the choices
NightOption = Annotated[
    str, typer.Option(metavar="YYYY-MM-DD", help="The day whose logs the night takes in.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be read and written, and what is up to date.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

app = typer.Typer()


@app.command(rich_help_panel=SECTION)
def steps(as_json: JsonOption = False) -> None:
    """List the steps of a night with their inputs and outputs."""
    from undercurrent.steps import describe_steps, format_steps

    def action() -> None:
        print_result(describe_steps(), format_steps, as_json)

    run_command("steps", action)


@app.command(rich_help_panel=SECTION)
def run(
    step: Annotated[Step, typer.Argument(metavar="STEP", help="See `undercurrent steps`.")],
    night: NightOption,
    params: ParamsOption = DEFAULT_PARAMS,
    workspace: WorkspaceOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Run one step of a night, as `python -m tasks.STEP` does."""
    from undercurrent.night import step_options

    def action() -> int:
        chosen = chosen_night(night, workspace, params)
        if dry_run:
            _print_plan(chosen, [step.value])
            return DONE
        module = import_module(f"tasks.{step.value}")
        return step_cli.main(step.value, module.run, module.__doc__, step_options(chosen))

    run_command("run", action)


@app.command(rich_help_panel=SECTION)
def night(
    date: Annotated[
        str,
        typer.Option(
            "--date", "--night", metavar="YYYY-MM-DD", help="The day whose logs the night takes in."
        ),
    ],
    first: Annotated[
        Step | None, typer.Option("--from", metavar="STEP", help="The first step. Default: ingest.")
    ] = None,
    last: Annotated[
        Step | None, typer.Option("--until", metavar="STEP", help="The last step. Default: report.")
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
    workspace: WorkspaceOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run the steps of a night one after another.

    The night stops at the first step that fails, refuses its input or blocks the night, with the exit code of
    that step. `--from` continues it after a repair. A night whose challenger is refused is complete.
    """
    from undercurrent.night import format_results, run_steps
    from undercurrent.status import format_nights, read_night
    from undercurrent.steps import select_steps

    def action() -> int:
        chosen = chosen_night(date, workspace, params)
        logs.start("night", date)
        names = select_steps(first and first.value, last and last.value)
        if dry_run:
            _print_plan(chosen, names, as_json)
            return DONE
        load_params(params)
        results = []
        for number, result in enumerate(run_steps(chosen, names), 1):
            results.append(result)
            logs.write(f"night {date}: {number} of {len(names)}, {result.step}: {result.outcome}")
        ended = read_night(chosen)
        if as_json:
            print_json(asdict(ended) | {"workspace": chosen.workspace, "steps": results})
        else:
            typer.echo(f"{format_results(results)}\n\n{format_nights([ended])}")
        return results[-1].exit_code

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the running step is ended first
    run_command("night", action)


@app.command(rich_help_panel=SECTION)
def status(
    nights: Annotated[int, typer.Option(min=1, help="How many of the newest nights are listed.")] = 7,
    as_json: JsonOption = False,
) -> None:
    """Show how the newest nights ended, the champion, how fresh the data is, and missing days."""
    from undercurrent.status import format_status, read_status

    def action() -> None:
        print_result(read_status(nights, datetime.now(UTC).date()), format_status, as_json)

    run_command("status", action)


@app.command(rich_help_panel=SECTION)
def doctor(params: ParamsOption = DEFAULT_PARAMS, as_json: JsonOption = False) -> None:
    """Check this machine and its settings, and say how to repair what is wrong. Nothing is changed.

    Exit code 1: a check failed, so nights would fail too.
    """
    from undercurrent.doctor import FAILED as CHECK_FAILED
    from undercurrent.doctor import examine, format_checks

    def action() -> int:
        checks = examine(params)
        print_result(checks, format_checks, as_json)
        return FAILED if any(check.outcome == CHECK_FAILED for check in checks) else DONE

    run_command("doctor", action)


def _print_plan(night: Night, steps: list[str], as_json: bool = False) -> None:
    """Print what a run of these steps would read and write, and which of them are up to date."""
    from undercurrent.night import format_plan
    from undercurrent.step_state import plan_step

    params, commit = load_params(night.params_path), step_cli.code_commit()
    plan = [plan_step(night, step, params, commit) for step in steps]
    if as_json:
        print_json({"night": night.day, "workspace": night.workspace, "steps": plan})
    else:
        typer.echo(f"{format_plan(plan)}\ndry run: nothing was run; folders are in {night.workspace}")
