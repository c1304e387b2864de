"""The catalogue that a day is cleaned with, and the days that a catalogue change affects.

A video can enter the catalogue, or be corrected, after its events were cleaned. Then those events must be
cleaned again. So each commit of a day's interactions also stores a catalogue key. Only the days
with a video that has changed since are cleaned again.
"""

from collections import defaultdict
from datetime import date

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

from lake.client import Lake, up_to_day
from spark_jobs.session import spark_session

SEPARATOR = "|"  # in `Lake.input_digests`, between the input digest and the catalogue key
# The reject reasons that depend on the video's catalogue entry.
CATALOGUE_REASONS = ("unknown_video", "impossible_watch_time", "suspected_bot", "duplicate_event")


def video_durations(spark: SparkSession, lake: Lake, until: date) -> DataFrame:
    """Return `video_id` and `duration_ms` of the newest record of every video received up to a day."""
    paths = lake.data_files("videos", up_to_day(until))
    if not paths:
        return spark.createDataFrame([], "video_id string, duration_ms long")
    newest = Window.partitionBy("video_id").orderBy(
        F.desc("day"), F.desc("source_file"), F.desc("source_line")
    )
    ranked = spark.read.parquet(*paths).withColumn("recency_rank", F.row_number().over(newest))
    return ranked.where("recency_rank = 1").select("video_id", "duration_ms")


def cleaned_days(lake: Lake) -> dict[date, tuple[str, str]]:
    """Return day -> the input digest of its interactions and the catalogue key they agree with."""
    parts_by_day = {
        day: input_digest.partition(SEPARATOR)
        for day, input_digest in lake.input_digests("interactions").items()
    }
    return {
        date.fromisoformat(day): (input_digest, key) for day, (input_digest, _, key) in parts_by_day.items()
    }


def catalogue_key(lake: Lake, until: date) -> str:
    """Return the text that identifies a catalogue: the version of `videos`, the last day, the hidden days."""
    hidden_days = ",".join(str(day) for day in sorted(lake.hidden_days))
    return f"{lake.version('videos')} {until} {hidden_days}"


def days_with_changed_videos(lake: Lake, until: date) -> set[date]:
    """Return the days up to `until` with a video whose record has changed since they were cleaned."""
    current_key, days_by_key = catalogue_key(lake, until), defaultdict[str, set[date]](set)
    for day, (_, key) in cleaned_days(lake).items():
        if day <= until and day not in lake.hidden_days and key != current_key:
            days_by_key[key].add(day)
    changed_days = [_days_changed_since(lake, key, until, days) for key, days in sorted(days_by_key.items())]
    return set().union(*changed_days)


def confirm_catalogue_key(lake: Lake, until: date) -> None:
    """Store that all visible days up to `until` agree with the present catalogue."""
    current_key = catalogue_key(lake, until)
    outdated = {
        str(day): input_digest
        for day, (input_digest, key) in cleaned_days(lake).items()
        if day <= until and day not in lake.hidden_days and key != current_key
    }
    if outdated:
        lake.commit(
            "interactions",
            [],
            [],
            {day: input_digest + SEPARATOR + current_key for day, input_digest in outdated.items()},
        )


def _days_changed_since(lake: Lake, key: str, until: date, days: set[date]) -> set[date]:
    """Return which of some days have a video that has changed since the catalogue of a key."""
    version, old_until, hidden_days = key.split(" ") if key else ("None", str(until), "")
    old_lake = Lake(hidden_days=[date.fromisoformat(day) for day in hidden_days.split(",") if day])
    if not key or (version != "None" and not old_lake.has_version("videos", int(version))):
        return days  # the key was not stored, or its version has expired
    old_lake.pin({"videos": None if version == "None" else int(version)})
    spark = spark_session("clean")
    old_videos = video_durations(spark, old_lake, date.fromisoformat(old_until))
    changed = _changed_videos(old_videos, video_durations(spark, lake, until)).persist()
    affected = _rejected_videos(spark, lake).join(changed, "video_id")
    # An interaction exists only for a video of the old catalogue, so a new video can occur only in rejects.
    if not (known_before := changed.where("was_known")).isEmpty():
        affected = affected.unionByName(_interaction_videos(spark, lake).join(known_before, "video_id"))
    affected_days = {row["day"] for row in affected.select("day").distinct().collect()}
    changed.unpersist()
    return days & affected_days


def catalogue_digest_by_day(events: DataFrame) -> dict[date, str]:
    """Return for each day a digest of the catalogue entries of its videos.

    Args:
        events: rows of `spark_jobs.clean.with_reject_reason`.
    """
    in_catalogue: Column = F.coalesce(F.col("reason") != "unknown_video", F.lit(True))
    videos = events.select(
        "partition_day", "video_id", "duration_ms", in_catalogue.alias("in_catalogue")
    ).distinct()
    video_hash = F.xxhash64("video_id", "duration_ms", "in_catalogue").cast("decimal(38, 0)")
    sums = videos.groupBy("partition_day").agg(F.sum(video_hash).alias("digest")).collect()
    return {row["partition_day"]: f"{int(row['digest']) % 2**64:016x}" for row in sums}


def _changed_videos(old_videos: DataFrame, new_videos: DataFrame) -> DataFrame:
    """Return `video_id` of the videos that are new, gone or of another duration.

    The column `was_known` is true if the video was known in the old catalogue.
    """
    renamed = [
        frame.select("video_id", F.struct("duration_ms").alias(name))
        for frame, name in ((old_videos, "old_entry"), (new_videos, "new_entry"))
    ]
    joined = renamed[0].join(renamed[1], "video_id", "full_outer")
    return joined.where(~F.col("old_entry").eqNullSafe(F.col("new_entry"))).select(
        "video_id", F.col("old_entry").isNotNull().alias("was_known")
    )


def _interaction_videos(spark: SparkSession, lake: Lake) -> DataFrame:
    """Return `video_id` and `day` of the interactions."""
    if not lake.data_files("interactions"):
        return spark.createDataFrame([], "video_id string, day date")
    return spark.read.parquet(*lake.data_files("interactions")).select("video_id", "day")


def _rejected_videos(spark: SparkSession, lake: Lake) -> DataFrame:
    """Return `video_id` and `day` of the events rejected because of their video's catalogue entry."""
    paths = lake.data_files("rejects", "step = 'clean'")
    if not paths:
        return spark.createDataFrame([], "video_id string, day date")
    rejected = spark.read.parquet(*paths).where(F.col("reason").isin(*CATALOGUE_REASONS))
    return rejected.select(F.get_json_object("record", "$.video_id").alias("video_id"), "day")
