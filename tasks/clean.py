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
from functools import partial

import polars as pl

from core import hashing, step_cli
from core.config import CleanConfig
from core.paths import Night
from core.run_manifests import RowCounts, RunManifest
from core.storage import StoragePath
from lake.audits import visible_lake
from lake.client import Lake, on_days, up_to_day
from spark_jobs import catalogue_changes
from spark_jobs.clean import CleanedBucket, CleanFolders, clean_bucket, label_events
from spark_jobs.context import spark_context
from spark_jobs.exchange import count_buckets, deleted_at_end, run_tasks, split_by_user
from spark_jobs.sentiment import METHOD


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
    """Clean these days, and return the counts of the written rows."""
    received_days = sorted({day + timedelta(n) for day in days for n in range(params.late_days + 1)})
    paths = lake.data_files("events", on_days(*[day for day in received_days if day <= until]))
    if not paths:
        _commit(lake, until, [], [], {day: input_digests.get(day) for day in days})
        return RowCounts(0, 0)
    with deleted_at_end(lake.create_staging_folder("interactions")) as folder:
        folders = CleanFolders(
            folder, lake.create_staging_folder("interactions"), lake.create_staging_folder("rejects")
        )
        catalogue_changes.video_durations(lake, until).sink_parquet(str(folders.catalogue))
        rows_in, buckets = _run_tasks(paths, folders, days, params)
        videos = dict(catalogue_changes.catalogue_digest_by_day(folders.catalogue_entries))
    content_digests = {
        day: f"{input_digests[day]}.{videos.get(day, '')}" if day in input_digests else None for day in days
    }
    _commit(
        lake,
        until,
        [path for bucket in buckets for path in bucket.interaction_paths],
        [path for bucket in buckets for path in bucket.reject_paths],
        content_digests,
    )
    rejected = sum((Counter(bucket.rejected) for bucket in buckets), Counter[str]())
    return RowCounts(rows_in, sum(bucket.kept for bucket in buckets), dict(sorted(rejected.items())))


def _run_tasks(
    paths: Sequence[str], folders: CleanFolders, days: Sequence[date], params: CleanConfig
) -> tuple[int, list[CleanedBucket]]:
    """Write the staged files in Spark tasks. Return the number of events of the days, and the buckets."""
    spark = spark_context("clean")
    num_buckets = count_buckets(spark, paths)
    label = partial(label_events, folders=folders, days=days, params=params)
    rows_in = split_by_user(spark, paths, label, folders.events, num_buckets)
    write = partial(clean_bucket, folders=folders, params=params)
    buckets = run_tasks(spark, write, range(num_buckets))
    spark.stop()
    return rows_in, buckets


def _commit(
    lake: Lake,
    until: date,
    kept_paths: Sequence[StoragePath],
    reject_paths: Sequence[StoragePath],
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


def _night_counts(lake: Lake, day: date) -> dict[str, int]:
    """Count interactions, users and rejects of the night's own day."""
    interactions = lake.lazy_scan("interactions", on_days(day))
    counts = interactions.select(interactions=pl.len(), users=pl.col("user_id").n_unique())
    rejects = lake.lazy_scan("rejects", on_days(day)).select(rejects=pl.len())
    return {**counts.collect().row(0, named=True), **rejects.collect().row(0, named=True)}


if __name__ == "__main__":
    sys.exit(step_cli.main("clean", run, __doc__))
