"""Clean the events of every changed day into `interactions`, and refused events into `rejects`.

A day is cleaned again if its events, its videos in the catalogue or the parameters have changed. Late and
withdrawn events count as a change. The step checks on the written files that rows in = kept + rejected.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

import polars as pl

from core import hashing, step_cli
from core.config import CleanConfig
from core.paths import Night
from core.run_manifests import RowCounts, RunManifest
from core.storage import StoragePath
from lake.audits import visible_lake
from lake.client import Lake, on_days
from spark_jobs import catalogue_changes, event_changes
from spark_jobs.clean import CleanedBucket, CleanFolders, clean_bucket, label_events
from spark_jobs.cleaned_days import BEING_REPLACED, CleanedDay, cleaned_days
from spark_jobs.exchange import count_buckets, deleted_at_end, split_by_user, task_scheduler


@dataclass(frozen=True)
class DayChanges:
    """The state of the lake that the days are compared with, and the days that do not agree with it.

    Attributes:
        catalogue_key: the present catalogue (`catalogue_changes.catalogue_key`).
        received_digests: day -> digest of the files that may hold its events.
        to_clean: day -> digest of its events. None: its events were withdrawn.
    """

    catalogue_key: str
    received_digests: Mapping[date, str]
    to_clean: Mapping[date, str | None]

    def cleaned(self, day: date, input_digest: str) -> CleanedDay:
        """Return what the lake shall remember of a day that agrees with this state."""
        return CleanedDay(input_digest, self.catalogue_key, self.received_digests.get(day, ""))


def run(params: CleanConfig, night: Night) -> RunManifest:
    """Clean the changed days up to the night, and replace them in one commit per table."""
    lake = visible_lake(night.day)
    with lake.lock("clean"):
        reads = {name: lake.version(name) for name in ("events", "videos", "landings")}
        lake.pin(reads)  # rows that are ingested from now on belong to the next run
        changes = _find_changes(lake, params, night.day)
        rows = _clean_days(lake, params, night.day, changes) if changes.to_clean else RowCounts(0, 0)
        _confirm_other_days(lake, night.day, changes)
        days = _visible_days(lake, night.day)
    return RunManifest(
        reads=reads,
        writes={name: lake.version(name) for name in ("interactions", "rejects")},
        row_counts=rows,
        digests={"inputs": hashing.hash_lines([days[day].events_digest for day in sorted(days)])},
        facts={
            "days": [str(day) for day in sorted(changes.to_clean)],
            "missing_days": [str(day) for day in sorted(lake.hidden_days)],
            "night": _night_counts(lake, night.day),
        },
    )


def _visible_days(lake: Lake, until: date) -> dict[date, CleanedDay]:
    """Return the cleaned days up to a day. A blocked day is not cleaned again by later nights."""
    days = cleaned_days(lake).items()
    return {day: cleaned for day, cleaned in days if day <= until and day not in lake.hidden_days}


def _find_changes(lake: Lake, params: CleanConfig, until: date) -> DayChanges:
    """Find the days whose events, parameters or videos changed, and those whose events were withdrawn."""
    received = event_changes.received_digests(lake, params, until)
    cleaned = _visible_days(lake, until)
    suspects = {
        day
        for day in (received.keys() | cleaned.keys()) - lake.hidden_days
        if day not in cleaned or received.get(day) != cleaned[day].received_digest
    }
    events = event_changes.events_digests(lake, params, until, suspects)
    changed = {day: digest for day, digest in events.items() if digest != _events_digest(cleaned.get(day))}
    withdrawn = dict.fromkeys(suspects & cleaned.keys() - events.keys())
    recatalogued = {
        day: events.get(day, cleaned[day].events_digest)
        for day in catalogue_changes.days_with_changed_videos(lake, until)
    }
    key = catalogue_changes.catalogue_key(lake, until)
    return DayChanges(key, received, {**recatalogued, **changed, **withdrawn})


def _events_digest(cleaned: CleanedDay | None) -> str | None:
    return cleaned.events_digest if cleaned else None


def _clean_days(lake: Lake, params: CleanConfig, until: date, changes: DayChanges) -> RowCounts:
    """Clean the changed days, and return the counts of the written rows."""
    days = sorted(changes.to_clean)
    received_days = sorted({day + timedelta(n) for day in days for n in range(params.late_days + 1)})
    paths = lake.data_files("events", on_days(*[day for day in received_days if day <= until]))
    with deleted_at_end(lake.create_staging_folder("interactions")) as folder:
        folders = CleanFolders(
            folder, lake.create_staging_folder("interactions"), lake.create_staging_folder("rejects")
        )
        catalogue_changes.video_durations(lake, until).sink_parquet(str(folders.catalogue))
        rows_in, buckets = _run_tasks(paths, folders, days, params)
        videos = dict(catalogue_changes.catalogue_digest_by_day(folders.catalogue_entries))
    cleaned = {
        day: changes.cleaned(day, f"{digest}.{videos.get(day, '')}") if digest else None
        for day, digest in changes.to_clean.items()
    }
    _commit(
        lake,
        [path for bucket in buckets for path in bucket.interaction_paths],
        [path for bucket in buckets for path in bucket.reject_paths],
        cleaned,
    )
    rejected = sum((Counter(bucket.rejected) for bucket in buckets), Counter[str]())
    return RowCounts(rows_in, sum(bucket.kept for bucket in buckets), dict(sorted(rejected.items())))


def _run_tasks(
    paths: Sequence[str], folders: CleanFolders, days: Sequence[date], params: CleanConfig
) -> tuple[int, list[CleanedBucket]]:
    """Write the staged files. Return the number of events of the days, and the buckets."""
    with task_scheduler("clean", paths) as scheduler:
        num_buckets = count_buckets(scheduler, paths)
        label = partial(label_events, folders=folders, days=days, params=params)
        rows_in = split_by_user(scheduler, paths, label, folders.events, num_buckets)
        write = partial(clean_bucket, folders=folders, params=params)
        return rows_in, scheduler.run(write, range(num_buckets))


def _commit(
    lake: Lake,
    kept_paths: Sequence[StoragePath],
    reject_paths: Sequence[StoragePath],
    cleaned: Mapping[date, CleanedDay | None],
) -> None:
    """Replace the days. They are marked first, so that a killed run is repeated.

    Args:
        lake: the lake.
        kept_paths, reject_paths: the staged files of the tables.
        cleaned: day -> what to remember of it. None: it has no events.
    """
    lake.commit("interactions", [], [], {str(day): BEING_REPLACED.to_text() for day in cleaned})
    lake.commit("rejects", [{"day": day, "step": "clean"} for day in cleaned], reject_paths)
    texts = {str(day): value.to_text() if value else None for day, value in cleaned.items()}
    lake.commit("interactions", [{"day": day} for day in cleaned], kept_paths, texts)


def _confirm_other_days(lake: Lake, until: date, changes: DayChanges) -> None:
    """Store that the days which were not cleaned agree with the present state of the lake."""
    confirmed = {
        str(day): changes.cleaned(day, cleaned.input_digest).to_text()
        for day, cleaned in _visible_days(lake, until).items()
        if cleaned != changes.cleaned(day, cleaned.input_digest)
    }
    if confirmed:
        lake.commit("interactions", [], [], confirmed)


def _night_counts(lake: Lake, day: date) -> dict[str, int]:
    """Count interactions, users, comments, unknown sentiments and rejects of the night's own day."""
    interactions = lake.lazy_scan("interactions", on_days(day))
    has_comment = pl.col("comment_text").is_not_null()
    counts = interactions.select(
        interactions=pl.len(),
        users=pl.col("user_id").n_unique(),
        commented=has_comment.sum(),
        unknown_sentiments=(has_comment & pl.col("comment_sentiment").is_null()).sum(),
    )
    rejects = lake.lazy_scan("rejects", on_days(day)).select(rejects=pl.len())
    return {**counts.collect().row(0, named=True), **rejects.collect().row(0, named=True)}


if __name__ == "__main__":
    sys.exit(step_cli.main("clean", run, __doc__))
