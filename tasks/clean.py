"""Clean the events of every day that changed: `interactions`, and `rejects` with the reason of each.

A day is cleaned again when events for it have arrived since (late ones included) or were withdrawn, when a
video of it was catalogued or corrected, or when a parameter changed.
Rows in = kept + rejected, checked on what was written.
"""

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from contracts import digests, step
from contracts.audits import lake_of
from contracts.lake import Lake, on, up_to
from contracts.params import Clean
from contracts.place import Night
from contracts.receipts import Receipt, Rows
from contracts.tables import INTERACTIONS, REJECTS
from spark_jobs import clean
from spark_jobs.sentiment import METHOD
from spark_jobs.session import session
from tasks import catalogue
from tasks.staging import stage


def run(params: Clean, night: Night) -> Receipt:
    """Clean the days up to the night whose events changed, and replace them in one commit a table."""
    lake = lake_of(night.day)
    with lake.alone("clean"):
        reads = {name: lake.version(name) for name in ("events", "videos", "landings")}
        lake.pin(reads)  # what is ingested meanwhile is for the next run
        made_of = day_inputs(lake, params, night.day)
        todo = _todo(lake, night.day, made_of)
        rows = _clean_days(lake, params, night.day, todo, made_of) if todo else Rows(0, 0)
        catalogue.confirm(lake, night.day)
        if spark := SparkSession.getActiveSession():
            spark.stop()
    return Receipt(
        reads=reads,
        writes={name: lake.version(name) for name in ("interactions", "rejects")},
        rows=rows,
        digests={"inputs": digests.of_lines([made_of[day] for day in sorted(made_of)])},
        facts={
            "days": [str(day) for day in todo],
            "missing_days": [str(day) for day in sorted(lake.without)],
            "night": _night(lake, night.day),
        },
    )


def _todo(lake: Lake, until: date, made_of: dict[date, str]) -> list[date]:
    """The days whose events, parameters or videos changed, and those whose events were withdrawn.

    A day that is blocked stays as its own night has cleaned it.
    """
    known = {day: made for day, (made, _) in catalogue.cleaned(lake).items()}
    changed = {day for day, digest in made_of.items() if known.get(day, "").split(".")[0] != digest}
    withdrawn = {day for day in known.keys() - made_of.keys() if day <= until}
    touched = {day for day in catalogue.touched(lake, until) if day in made_of}
    return sorted((changed | withdrawn | touched) - lake.without)


def day_inputs(lake: Lake, params: Clean, until: date) -> dict[date, str]:
    """What each day up to `until` is made of: a digest over the files received for it in time."""
    received: dict[date, list[str]] = {}
    for row in lake.scan("landings", up_to(until)).to_pylist():
        if row["kind"] == "events":
            received.setdefault(row["day"], []).append(row["digest"])
    first = min(received, default=until) - timedelta(params.late_days)
    days = [first + timedelta(n) for n in range((until - first).days + 1)]
    knobs = json.dumps(asdict(params) | {"sentiment": METHOD}, sort_keys=True)
    window = {day: [day + timedelta(n) for n in range(params.late_days + 1)] for day in days}
    return {
        day: digests.of_lines(
            [knobs, *(f"{r} {d}" for r in window[day] if r <= until for d in sorted(received.get(r, [])))]
        )
        for day in days
        if any(r in received for r in window[day])
    }


def _clean_days(
    lake: Lake, params: Clean, until: date, days: Sequence[date], made_of: dict[date, str]
) -> Rows:
    """Clean these days in one Spark job; returns the counts, taken from what was written."""
    received = sorted({day + timedelta(n) for day in days for n in range(params.late_days + 1)})
    paths = lake.files("events", on(*[day for day in received if day <= until]))
    if not paths:
        _commit(lake, until, [], [], {day: made_of.get(day) for day in days})
        return Rows(0, 0)
    spark = session("clean")
    events = clean.with_work_day(spark.read.parquet(*paths), params)
    mine = events.where(F.col("work_day").isin(list(days)))
    judged = clean.judge(mine, catalogue.durations(spark, lake, until), params).persist()

    kept_paths = stage(
        lake,
        INTERACTIONS,
        clean.interactions(judged.where("reason IS NULL"), params),
        ["user_id", "started_at"],
    )
    refused_paths = stage(
        lake, REJECTS, clean.rejects(judged.where("reason IS NOT NULL")), ["source_file", "source_line"]
    )
    rows = Rows(mine.count(), _sum_events(kept_paths), _by_reason(refused_paths))
    videos = catalogue.digest_by_day(judged)
    judged.unpersist()
    made = {day: f"{made_of[day]}.{videos.get(day, '')}" if day in made_of else None for day in days}
    _commit(lake, until, kept_paths, refused_paths, made)
    return rows


def _commit(
    lake: Lake,
    until: date,
    kept: Sequence[Path],
    refused: Sequence[Path],
    made_of: Mapping[date, str | None],
) -> None:
    """Replace the days. What they were made of is forgotten first, so that a killed run is done again."""
    state = catalogue.SEPARATOR + catalogue.state_of(lake, until)
    lake.commit("interactions", [], [], {str(day): None for day in made_of})
    lake.commit("rejects", [{"day": day, "step": "clean"} for day in made_of], refused)
    inputs = {str(day): made + state if made else None for day, made in made_of.items()}
    lake.commit("interactions", [{"day": day} for day in made_of], kept, inputs)


def _sum_events(paths: Sequence[Path]) -> int:
    if not paths:
        return 0
    column = ds.dataset(paths, schema=INTERACTIONS.schema).to_table(columns=["events"])["events"]
    return pc.sum(column).as_py() or 0


def _by_reason(paths: Sequence[Path]) -> dict[str, int]:
    if not paths:
        return {}
    counts = ds.dataset(paths, schema=REJECTS.schema).to_table(columns=["reason"])["reason"].value_counts()
    return dict(sorted(Counter({row["values"]: row["counts"] for row in counts.to_pylist()}).items()))


def _night(lake: Lake, day: date) -> dict[str, int]:
    """The night's own day, as it now stands: viewings, people, rejects."""
    viewings = lake.scan("interactions", on(day), columns=("user_id",))
    refused = lake.scan("rejects", on(day), columns=("step",))
    return {
        "viewings": viewings.num_rows,
        "people": pc.count_distinct(viewings["user_id"]).as_py(),
        "rejects": refused.num_rows,
    }


if __name__ == "__main__":
    sys.exit(step.main("clean", run, __doc__))
