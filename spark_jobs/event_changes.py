"""The received files that a day is cleaned from, and digests that show whether they have changed.

Events can arrive some days late. So a new landing file may hold events of several days, but it rarely does.
Two digests keep the work small:

- The *received digest* of a day covers all files that may hold its events. It needs no row of the lake. It
  changes with each new file of the next days. So it only shows which days to look at.
- The *events digest* covers the files that do hold its events. It needs two columns of the received events.
  The day is cleaned again if this digest has changed.
"""

import json
from collections.abc import Collection
from dataclasses import asdict
from datetime import date, timedelta

import polars as pl

from core import hashing
from core.config import CleanConfig
from lake.client import Lake, on_days, up_to_day
from spark_jobs.clean import with_partition_day
from spark_jobs.sentiment import METHOD


def received_digests(lake: Lake, params: CleanConfig, until: date) -> dict[date, str]:
    """Return a digest of the parameters and of the files that may hold events of a day, for each day.

    Files may hold events of a day if they were received at most `late_days` after it.

    Args:
        lake: the lake, as the night may see it.
        params: section `clean` of params.yaml.
        until: the last day.
    """
    received: dict[date, list[str]] = {}
    for row in _event_files(lake, until).sort("digest").iter_rows(named=True):
        received.setdefault(row["received_day"], []).append(row["digest"])
    days = {day for received_day in received for day in _days_of(received_day, params)}
    return {
        day: hashing.hash_lines(
            [_settings(params), *(f"{r} {d}" for r in _window(day, params) for d in received.get(r, []))]
        )
        for day in sorted(days)
    }


def events_digests(lake: Lake, params: CleanConfig, until: date, days: Collection[date]) -> dict[date, str]:
    """Return a digest of the parameters and of the files that hold events of a day, for each day with events.

    Args:
        lake, params, until: as for `received_digests`.
        days: the days to look at.
    """
    received_days = {r for day in days for r in _window(day, params) if r <= until}
    if not received_days:
        return {}
    events = lake.lazy_scan("events", on_days(*sorted(received_days)))
    sources = (
        with_partition_day(events.select("day", "event_time", "source_file"), params)
        .select("partition_day", "received_day", "source_file")
        .filter(pl.col("partition_day").is_in(list(days)))
        .unique()
        .collect(engine="streaming")
    )
    # A killed ingest can leave rows without a ledger entry. They count, so that its repetition is a change.
    files = sources.join(_event_files(lake, until), on=("received_day", "source_file"), how="left")
    line = pl.format("{} {}", "received_day", pl.col("digest").fill_null("not in the ledger"))
    lines_by_day = files.group_by("partition_day").agg(line.sort().alias("lines"))
    return {day: hashing.hash_lines([_settings(params), *lines]) for day, lines in lines_by_day.iter_rows()}


def _event_files(lake: Lake, until: date) -> pl.DataFrame:
    """Return `received_day`, `source_file` and `digest` of the files of events up to a day."""
    landings = lake.lazy_scan("landings", up_to_day(until)).filter(pl.col("kind") == "events")
    return landings.select(
        pl.col("day").alias("received_day"), pl.col("path").alias("source_file"), "digest"
    ).collect()


def _settings(params: CleanConfig) -> str:
    return json.dumps(asdict(params) | {"sentiment": METHOD}, sort_keys=True)


def _window(day: date, params: CleanConfig) -> list[date]:
    """Return the days on which events of a day may be received."""
    return [day + timedelta(n) for n in range(params.late_days + 1)]


def _days_of(received_day: date, params: CleanConfig) -> list[date]:
    """Return the days whose events may be received on a day."""
    return [received_day - timedelta(n) for n in range(params.late_days + 1)]
