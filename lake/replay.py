"""Find rejects, and have the records that they came from processed again.

A step repeats the work whose mark of completion is missing. Replay deletes these marks: the digests of a
landing folder, the input digest of a cleaned day, the reject of a media file. The step then replaces whole
days, so each record ends once as a row or as a reject.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import polars as pl
import pyarrow as pa

from core.errors import InputError
from core.storage import StoragePath
from core.tables import LANDINGS
from lake.client import Lake, on_days
from lake.landing import list_days

SOURCE = ("step", "day", "source_file", "source_line")


@dataclass(frozen=True)
class RejectFilter:
    """Which rejects to find.

    Attributes:
        reason: their reject reason.
        step: their step, such as `clean` or `ingest.events`; None for all.
        day: the day that was processed; None for all.
    """

    reason: str
    step: str | None = None
    day: date | None = None


@dataclass(frozen=True)
class ReplayedStep:
    """What a step will process again.

    Attributes:
        step: the step of the rejects.
        records: how many records it had rejected.
        days: the days that it will process.
        archived_days: days that stay as they are, because their landing folder is missing.
    """

    step: str
    records: int
    days: list[date]
    archived_days: list[date]


def list_rejects(lake: Lake, wanted: RejectFilter, limit: int) -> list[dict[str, Any]]:
    """Return the first rejects by step, day, file and line, as rows of the table `rejects`."""
    return _find(lake, wanted).sort(SOURCE).head(limit).collect(engine="streaming").to_dicts()


def plan_replay(lake: Lake, root: StoragePath, wanted: RejectFilter) -> list[ReplayedStep]:
    """Return what a replay of the rejects would process again.

    Args:
        lake: the lake.
        root: the landing folder.
        wanted: the rejects.

    Raises:
        InputError: there is no such reject. The message names the reasons that there are.
    """
    counts = _find(lake, wanted).group_by("step", "day").len().sort("step", "day")
    by_day = counts.collect(engine="streaming")
    if by_day.is_empty():
        raise InputError(
            f"--reason is {wanted.reason!r}, and the lake has no such reject of the step and day; the reasons"
            f" are {', '.join(_reasons(lake)) or 'none'}"
        )
    return [
        _plan_step(root, str(step), rows["day"].to_list(), int(rows["len"].sum()))
        for (step,), rows in by_day.group_by("step", maintain_order=True)
    ]


def _plan_step(root: StoragePath, step: str, days: list[date], records: int) -> ReplayedStep:
    if not step.startswith("ingest."):
        return ReplayedStep(step, records, days, [])
    existing = set(list_days(root, step.removeprefix("ingest.")))
    kept_days = [day for day in days if day not in existing]
    return ReplayedStep(step, records, [day for day in days if day in existing], kept_days)


def mark_for_replay(lake: Lake, wanted: RejectFilter, plan: ReplayedStep) -> None:
    """Delete the marks that keep a step from processing days or files again."""
    if not plan.days:
        return
    name, _, landing_type = plan.step.partition(".")
    with lake.lock(name):
        if name == "ingest":
            _forget_digests(lake, landing_type, plan.days)
        elif name == "clean":
            lake.commit("interactions", [], [], {str(day): None for day in plan.days})
        else:
            rejects = {"step": plan.step, "reason": wanted.reason}
            lake.commit("rejects", [rejects | {"day": day} for day in plan.days], [])


def _forget_digests(lake: Lake, landing_type: str, days: Sequence[date]) -> None:
    """Delete the digests in the ledger of days. So their files count as changed, and their nights too."""
    ledger = lake.scan("landings", on_days(*days)).to_pylist()
    rows = [row | {"digest": ""} for row in ledger if row["kind"] == landing_type]
    partitions = [{"day": day, "kind": landing_type} for day in days]
    lake.write("landings", pa.Table.from_pylist(rows, LANDINGS.schema), partitions)


def _find(lake: Lake, wanted: RejectFilter) -> pl.LazyFrame:
    conditions = [pl.col("reason") == wanted.reason]
    if wanted.step:
        conditions.append(pl.col("step") == wanted.step)
    if wanted.day:
        conditions.append(pl.col("day") == wanted.day)
    return lake.lazy_scan("rejects").filter(*conditions)


def _reasons(lake: Lake) -> list[str]:
    return lake.lazy_scan("rejects").select("reason").unique().sort("reason").collect()["reason"].to_list()
