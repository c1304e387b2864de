"""The catalogue that days are cleaned with, and which days a change of it touches.

A video that is catalogued, or corrected, after its events changes what becomes of them. So the table
`interactions` remembers the state of the catalogue that it was cleaned with, and only the days that hold a
video whose record differs from then are cleaned again.
"""

import json
from datetime import date

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

from contracts.lake import Lake, up_to
from spark_jobs.session import session

PROPERTY = "undercurrent.catalogue"
# The reject reasons that depend on the video's catalogue entry.
JUDGED_BY_VIDEO = ("unknown_video", "impossible_watch_time")


def durations(spark: SparkSession, lake: Lake, until: date) -> DataFrame:
    """`video_id`, `duration_ms` of every video known by then, its newest record."""
    paths = lake.files("videos", up_to(until))
    if not paths:
        return spark.createDataFrame([], "video_id string, duration_ms long")
    newest = Window.partitionBy("video_id").orderBy(
        F.desc("day"), F.desc("source_file"), F.desc("source_line")
    )
    ranked = spark.read.parquet(*paths).withColumn("age", F.row_number().over(newest))
    return ranked.where("age = 1").select("video_id", "duration_ms")


def remember(lake: Lake, version: int | None, until: date) -> None:
    """Keep with which version of the catalogue all days up to this one have now been cleaned.

    Days after it, which a later night has cleaned, keep what is remembered of them.
    """
    later = [state for state in _remembered(lake) if state["until"] > str(until)]
    states = [_state(lake, version, until), *later]
    if _remembered(lake) != states:
        lake.set_property("interactions", PROPERTY, json.dumps(states, sort_keys=True))


def touched(lake: Lake, until: date) -> set[date]:
    """The days up to this one that hold a video whose record is another one than when they were cleaned."""
    now, after, days = _state(lake, lake.version("videos"), until), "", set[date]()
    for state in _remembered(lake):
        if state != now:
            found = _touched_since(lake, state, until)
            days |= {day for day in found if after < str(day) <= state["until"]}
        after = state["until"]
    return days


def _touched_since(lake: Lake, state: dict, until: date) -> set[date]:
    """The days that hold a video whose record has changed since that state."""
    then_lake = Lake(without=[date.fromisoformat(day) for day in state["without"]])
    if state["version"] is not None and not then_lake.has_version("videos", state["version"]):
        return {date.fromisoformat(day) for day in lake.inputs("interactions")}  # it has expired
    then_lake.pin({"videos": state["version"]})
    spark = session("clean")
    then = durations(spark, then_lake, date.fromisoformat(state["until"]))
    changed = _changed(then, durations(spark, lake, until)).persist()
    found = _refused(spark, lake).join(changed, "video_id")
    if not (corrected := changed.where("old")).isEmpty():  # what is new tonight is in no interaction yet
        found = found.unionByName(_kept(spark, lake).join(corrected, "video_id"))
    days = {row["day"] for row in found.select("day").distinct().collect()}
    changed.unpersist()
    return days


def digest_by_day(judged: DataFrame) -> dict[date, str]:
    """Day -> a digest of what is known of the videos of its events (`spark_jobs.clean.judge`)."""
    known: Column = F.coalesce(F.col("reason") != "unknown_video", F.lit(True))
    videos = judged.select("work_day", "video_id", "duration_ms", known.alias("known")).distinct()
    each = F.xxhash64("video_id", "duration_ms", "known").cast("decimal(38, 0)")
    sums = videos.groupBy("work_day").agg(F.sum(each).alias("digest")).collect()
    return {row["work_day"]: f"{int(row['digest']) % 2**64:016x}" for row in sums}


def _state(lake: Lake, version: int | None, until: date) -> dict:
    """What a catalogue is told by: the version of `videos`, the days of it that count, and those left out."""
    without = [str(day) for day in sorted(lake.without)]
    return {"version": version, "until": str(until), "without": without}


def _remembered(lake: Lake) -> list[dict]:
    """By which catalogue days have been cleaned, each up to its `until`, in their order."""
    text = lake.table("interactions").properties.get(PROPERTY)
    return json.loads(text) if text else []


def _changed(then: DataFrame, now: DataFrame) -> DataFrame:
    """`video_id` of the videos that are new, gone, or of another duration; `old`: it was known then."""
    marked = [
        frame.select("video_id", F.struct("duration_ms").alias(name))
        for frame, name in ((then, "then"), (now, "now"))
    ]
    both = marked[0].join(marked[1], "video_id", "full_outer")
    return both.where(~F.col("then").eqNullSafe(F.col("now"))).select(
        "video_id", F.col("then").isNotNull().alias("old")
    )


def _kept(spark: SparkSession, lake: Lake) -> DataFrame:
    """`video_id`, `day` of the interactions; of a video that was known then there may be none."""
    if not lake.files("interactions"):
        return spark.createDataFrame([], "video_id string, day date")
    return spark.read.parquet(*lake.files("interactions")).select("video_id", "day")


def _refused(spark: SparkSession, lake: Lake) -> DataFrame:
    """`video_id`, `day` of the events that were refused by their video's record."""
    paths = lake.files("rejects", "step = 'clean'")
    if not paths:
        return spark.createDataFrame([], "video_id string, day date")
    refused = spark.read.parquet(*paths).where(F.col("reason").isin(*JUDGED_BY_VIDEO))
    return refused.select(F.get_json_object("record", "$.video_id").alias("video_id"), "day")
