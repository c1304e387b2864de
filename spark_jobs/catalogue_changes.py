"""The catalogue that a day is cleaned with, and the days that a catalogue change affects.

A video can enter the catalogue, or be corrected, after its events were cleaned. Then those events must be
cleaned again. So each commit of a day's interactions also stores a catalogue key. Only the days
with a video that has changed since are cleaned again.

Queries are lazy and run in the streaming engine of polars, which holds a part of a table at a time.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import date

import polars as pl

from core.storage import StoragePath, list_folder
from lake.client import Lake, up_to_day
from spark_jobs.cleaned_days import cleaned_days

# The reject reasons that depend on the video's catalogue entry. A video that is not in it has the first only.
UNKNOWN_VIDEO = "unknown_video"
CATALOGUE_REASONS = (UNKNOWN_VIDEO, "impossible_watch_time", "suspected_bot", "duplicate_event")


def video_durations(lake: Lake, until: date) -> pl.LazyFrame:
    """Return `video_id` and `duration_ms` of the newest record of every video received up to a day."""
    recency = ("day", "source_file", "source_line", "duration_ms")
    newest = pl.col("duration_ms").sort_by(recency).last()
    return lake.lazy_scan("videos", up_to_day(until)).group_by("video_id").agg(newest)


def catalogue_key(lake: Lake, until: date) -> str:
    """Return the text that identifies a catalogue: the version of `videos`, the last day, the hidden days."""
    hidden_days = ",".join(str(day) for day in sorted(lake.hidden_days))
    return f"{lake.version('videos')} {until} {hidden_days}"


def days_with_changed_videos(lake: Lake, until: date) -> set[date]:
    """Return the days up to `until` with a video whose record has changed since they were cleaned."""
    current_key, days_by_key = catalogue_key(lake, until), defaultdict[str, set[date]](set)
    for day, cleaned in cleaned_days(lake).items():
        if day <= until and day not in lake.hidden_days and cleaned.catalogue_key != current_key:
            days_by_key[cleaned.catalogue_key].add(day)
    changed_days = [_days_changed_since(lake, key, until, days) for key, days in sorted(days_by_key.items())]
    return set().union(*changed_days)


def _days_changed_since(lake: Lake, key: str, until: date, days: set[date]) -> set[date]:
    """Return which of some days have a video that has changed since the catalogue of a key."""
    version, old_until, hidden_days = key.split(" ") if key else ("None", str(until), "")
    old_lake = Lake(hidden_days=[date.fromisoformat(day) for day in hidden_days.split(",") if day])
    if not key or (version != "None" and not old_lake.has_version("videos", int(version))):
        return days  # the key was not stored, or its version has expired
    old_lake.pin({"videos": None if version == "None" else int(version)})
    old_videos = video_durations(old_lake, date.fromisoformat(old_until))
    changed = _changed_videos(old_videos, video_durations(lake, until))
    if changed.is_empty():
        return set()
    affected_days = _days_of_videos(_rejected_videos(lake, UNKNOWN_VIDEO), changed)
    known_before = changed.filter("was_known")
    if known_before.height:
        affected_days |= _days_of_videos(_rejected_videos(lake, *CATALOGUE_REASONS), known_before)
        affected_days |= _days_of_videos(_interaction_videos(lake), known_before)
    return days & affected_days


def catalogue_digest_by_day(folder: StoragePath) -> Iterator[tuple[date, str]]:
    """Return for each partition day a digest of the catalogue entries of its videos.

    Args:
        folder: Parquet files with `partition_day`, `video_id`, `duration_ms` and `in_catalogue`.
    """
    paths = list_folder(folder)
    if not paths:
        return
    entries = pl.scan_parquet([str(path) for path in paths])
    for day in entries.select(pl.col("partition_day").unique().sort()).collect().to_series():
        entries_of_day = entries.filter(pl.col("partition_day") == day).unique().sort(pl.all())
        text = entries_of_day.collect(engine="streaming").write_csv()
        yield day, hashlib.sha256(text.encode()).hexdigest()[:16]


def _changed_videos(old_videos: pl.LazyFrame, new_videos: pl.LazyFrame) -> pl.DataFrame:
    """Return `video_id` of the videos that are new, gone or of another duration.

    The column `was_known` is true if the video was known in the old catalogue.
    """
    joined = old_videos.with_columns(was_known=True).join(
        new_videos.with_columns(is_known=True), on="video_id", how="full", coalesce=True, suffix="_new"
    )
    same = (
        pl.col("was_known") & pl.col("is_known") & pl.col("duration_ms").eq_missing(pl.col("duration_ms_new"))
    )
    return (
        joined.filter(~same.fill_null(False))
        .select("video_id", pl.col("was_known").fill_null(False))
        .collect(engine="streaming")
    )


def _days_of_videos(rows: pl.LazyFrame, videos: pl.DataFrame) -> set[date]:
    """Return the days of the rows with one of some videos."""
    days = rows.join(videos.lazy(), on="video_id", how="semi").select(pl.col("day").unique())
    return set(days.collect(engine="streaming").to_series())


def _interaction_videos(lake: Lake) -> pl.LazyFrame:
    """Return `video_id` and `day` of the interactions."""
    return lake.lazy_scan("interactions").select("video_id", "day")


def _rejected_videos(lake: Lake, *reasons: str) -> pl.LazyFrame:
    """Return `video_id` and `day` of the events that were rejected for some reasons."""
    rejected = lake.lazy_scan("rejects", "step = 'clean'").filter(pl.col("reason").is_in(reasons))
    return rejected.select(pl.col("record").str.json_path_match("$.video_id").alias("video_id"), "day")
