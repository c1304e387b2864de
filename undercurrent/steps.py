"""The list of the steps of a night, with their inputs and outputs. No step is imported."""

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import InputError
from core.paths import PROJECT_ROOT
from core.step_data import STEP_DATA
from core.step_graph import STEPS
from core.text_table import format_table

HEADER = ("step", "waits for", "reads", "writes", "what it does")


@dataclass(frozen=True)
class StepDescription:
    """What a step does.

    Attributes:
        name: its name.
        waits_for: the steps that come before it.
        reads: its inputs. See `core.step_data.StepData`.
        writes: its outputs.
        summary: the first line of its documentation.
    """

    name: str
    waits_for: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    summary: str


def describe_steps() -> list[StepDescription]:
    """Return all steps in the order of a night."""
    return [
        StepDescription(name, waits_for, STEP_DATA[name].reads, STEP_DATA[name].writes, _summary(name))
        for name, waits_for in STEPS.items()
    ]


def _summary(step: str) -> str:
    source = (PROJECT_ROOT / "tasks" / f"{step}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def select_steps(first: str | None = None, last: str | None = None) -> list[str]:
    """Return the steps from the first to the last, both included, in the order of a night.

    Args:
        first: None for the first of all.
        last: None for the last of all.

    Raises:
        InputError: The first step comes after the last one.
    """
    names = list(STEPS)
    start = names.index(first) if first else 0
    end = names.index(last) if last else len(names) - 1
    if start > end:
        raise InputError(f"--from is {first}, which comes after --until {last}; exchange the two")
    return names[start : end + 1]


def format_steps(steps: Sequence[StepDescription]) -> str:
    """Return one line for each step."""
    rows = [
        (
            step.name,
            *(", ".join(names) or "-" for names in (step.waits_for, step.reads, step.writes)),
            step.summary,
        )
        for step in steps
    ]
    return format_table([HEADER, *rows])
