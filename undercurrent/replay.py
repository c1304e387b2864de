"""Replay of rejects: list them, and have their records processed again by the next night."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from core import paths
from lake.client import Lake
from lake.replay import RejectFilter, ReplayedStep, list_rejects, mark_for_replay, plan_replay

MAX_RECORD_LENGTH = 200  # characters of a record that are shown


def replay(
    wanted: RejectFilter, limit: int, dry_run: bool
) -> tuple[list[dict[str, Any]], list[ReplayedStep]]:
    """Find rejects, and mark their days and files to be processed again.

    Args:
        wanted: The rejects.
        limit: How many of them are returned.
        dry_run: Whether to mark nothing.

    Returns:
        The first rejects, and what each step will process again.

    Raises:
        InputError: There is no such reject.
    """
    lake = Lake()
    plans = plan_replay(lake, paths.landing(), wanted)
    rejects = list_rejects(lake, wanted, limit)
    for plan in plans if not dry_run else ():
        mark_for_replay(lake, wanted, plan)
    return rejects, plans


def format_rejects(rejects: Sequence[dict[str, Any]]) -> str:
    """Return one line for each reject: step, file and line, record."""
    return "\n".join(
        f"{row['step']}  {row['source_file']}:{row['source_line'] or ''}  {_shorten(row['record'])}"
        for row in rejects
    )


def _shorten(record: str) -> str:
    text = record.replace("\n", " ")
    return text if len(text) <= MAX_RECORD_LENGTH else f"{text[:MAX_RECORD_LENGTH]}…"


def format_plan(plan: ReplayedStep) -> str:
    """Return what a step will process again."""
    lines = [f"{plan.step}: {plan.records} rejects; to process again: {_format_days(plan.days)}"]
    if plan.archived_days:
        lines.append(
            f"{plan.step}: no landing folder, so left as they are: {_format_days(plan.archived_days)}"
        )
    return "\n".join(lines)


def _format_days(days: Sequence[date]) -> str:
    return ", ".join(map(str, days)) or "no day"
