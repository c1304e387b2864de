"""Clean the events of every changed day into `interactions`, and refused events into `rejects`.

A day is cleaned again if its events, its videos in the catalogue or the parameters have changed. Late and
withdrawn events count as a change. The step checks on the written files that rows in = kept + rejected.
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

from core import hashing, step_cli
from core.config import CleanConfig
from core.paths import Night
from core.run_manifests import RowCounts, RunManifest
from core.tables import INTERACTIONS, REJECTS
from lake.audits import visible_lake
from lake.client import Lake, on_days, up_to_day
from spark_jobs import catalogue_changes, clean
from spark_jobs.sentiment import METHOD
from spark_jobs.session import spark_session
from spark_jobs.staging import stage_parquet


def run(params: CleanConfig, night: Night) -> RunManifest:
    """Clean the changed days up to the night, and replace them in one commit per table."""
    lake = visible_lake(night.day)
    with lake.lock("clean"):
        reads = {name: lake.version(name) for name in ("events", "videos", "landings")}
        lake.pin(reads)  # rows that are ingested from now on belong to the next run
        input_digests = day_input_digests(lake, params, night.day)
        days_to_clean = _days_to_clean(lake, night.day, input_digests)
        rows = (
            _clean_days(lake, params, night.day, days_to_clean, input_digests)
            if days_to_clean
            else RowCounts(0, 0)
        )
        catalogue_changes.confirm_catalogue_key(lake, night.day)
        if spark := SparkSession.getActiveSession():
            spark.stop()
    return RunManifest(
        reads=reads,
        writes={name: lake.version(name) for name in ("interactions", "rejects")},
        row_counts=rows,
        digests={"inputs": hashing.hash_lines([input_digests[day] for day in sorted(input_digests)])},
        facts={
            "days": [str(day) for day in days_to_clean],
            "missing_days": [str(day) for day in sorted(lake.hidden_days)],
            "night": _night_counts(lake, night.day),
        },
    )


def _days_to_clean(lake: Lake, until: date, input_digests: dict[date, str]) -> list[date]:
    """Return the days whose events, parameters or videos changed, and those whose events were withdrawn.

    A blocked day is not cleaned again by later nights.
    """
    cleaned_digests = {
        day: input_digest for day, (input_digest, _) in catalogue_changes.cleaned_days(lake).items()
    }
    changed = {
        day for day, digest in input_digests.items() if cleaned_digests.get(day, "").split(".")[0] != digest
    }
    withdrawn = {day for day in cleaned_digests.keys() - input_digests.keys() if day <= until}
    affected = {
        day for day in catalogue_changes.days_with_changed_videos(lake, until) if day in input_digests
    }
    return sorted((changed | withdrawn | affected) - lake.hidden_days)


def day_input_digests(lake: Lake, params: CleanConfig, until: date) -> dict[date, str]:
    """Return a digest of the parameters and the received event files for each day up to `until`.

    Files count for a day if they were received at most `late_days` after it.
    """
    received: dict[date, list[str]] = {}
    for row in lake.scan("landings", up_to_day(until)).to_pylist():
        if row["kind"] == "events":
            received.setdefault(row["day"], []).append(row["digest"])
    first_day = min(received, default=until) - timedelta(params.late_days)
    days = [first_day + timedelta(n) for n in range((until - first_day).days + 1)]
    settings = json.dumps(asdict(params) | {"sentiment": METHOD}, sort_keys=True)
    window = {day: [day + timedelta(n) for n in range(params.late_days + 1)] for day in days}
    return {
        day: hashing.hash_lines(
            [settings, *(f"{r} {d}" for r in window[day] if r <= until for d in sorted(received.get(r, [])))]
        )
        for day in days
        if any(r in received for r in window[day])
    }


def _clean_days(
    lake: Lake, params: CleanConfig, until: date, days: Sequence[date], input_digests: dict[date, str]
) -> RowCounts:
    """Clean these days in one Spark job, and return the counts of the written rows."""
    received_days = sorted({day + timedelta(n) for day in days for n in range(params.late_days + 1)})
    paths = lake.data_files("events", on_days(*[day for day in received_days if day <= until]))
    if not paths:
        _commit(lake, until, [], [], {day: input_digests.get(day) for day in days})
        return RowCounts(0, 0)
    spark = spark_session("clean")
    events = clean.with_partition_day(spark.read.parquet(*paths), params)
    day_events = events.where(F.col("partition_day").isin(list(days)))
    labelled = clean.with_reject_reason(
        day_events, catalogue_changes.video_durations(spark, lake, until), params
    ).persist()

    kept_paths = stage_parquet(
        lake,
        INTERACTIONS,
        clean.interactions(labelled.where("reason IS NULL"), params),
        ["user_id", "started_at"],
    )
    reject_paths = stage_parquet(
        lake, REJECTS, clean.rejects(labelled.where("reason IS NOT NULL")), ["source_file", "source_line"]
    )
    rows = RowCounts(day_events.count(), _sum_events(kept_paths), _count_by_reason(reject_paths))
    videos = catalogue_changes.catalogue_digest_by_day(labelled)
    labelled.unpersist()
    content_digests = {
        day: f"{input_digests[day]}.{videos.get(day, '')}" if day in input_digests else None for day in days
    }
    _commit(lake, until, kept_paths, reject_paths, content_digests)
    return rows


def _commit(
    lake: Lake,
    until: date,
    kept_paths: Sequence[Path],
    reject_paths: Sequence[Path],
    input_digests: Mapping[date, str | None],
) -> None:
    """Replace the days. Their input digests are deleted first, so that a killed run is repeated."""
    catalogue_key = catalogue_changes.SEPARATOR + catalogue_changes.catalogue_key(lake, until)
    lake.commit("interactions", [], [], {str(day): None for day in input_digests})
    lake.commit("rejects", [{"day": day, "step": "clean"} for day in input_digests], reject_paths)
    inputs = {
        str(day): input_digest + catalogue_key if input_digest else None
        for day, input_digest in input_digests.items()
    }
    lake.commit("interactions", [{"day": day} for day in input_digests], kept_paths, inputs)


def _sum_events(paths: Sequence[Path]) -> int:
    if not paths:
        return 0
    column = ds.dataset(paths, schema=INTERACTIONS.schema).to_table(columns=["events"])["events"]
    return pc.sum(column).as_py() or 0


def _count_by_reason(paths: Sequence[Path]) -> dict[str, int]:
    if not paths:
        return {}
    counts = ds.dataset(paths, schema=REJECTS.schema).to_table(columns=["reason"])["reason"].value_counts()
    return dict(sorted(Counter({row["values"]: row["counts"] for row in counts.to_pylist()}).items()))


def _night_counts(lake: Lake, day: date) -> dict[str, int]:
    """Count interactions, users and rejects of the night's own day."""
    interactions = lake.scan("interactions", on_days(day), columns=("user_id",))
    rejects = lake.scan("rejects", on_days(day), columns=("step",))
    return {
        "interactions": interactions.num_rows,
        "users": pc.count_distinct(interactions["user_id"]).as_py(),
        "rejects": rejects.num_rows,
    }


if __name__ == "__main__":
    sys.exit(step_cli.main("clean", run, __doc__))
