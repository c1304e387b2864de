"""The catalogue that days are cleaned with, and which days a change of it touches.

A video that is catalogued, or corrected, after its events changes what becomes of them. So the table
`interactions` remembers with each day, in the same commit, the state of the catalogue that it was cleaned
with. Only the days that hold a video whose record differs from then are cleaned again.
"""

from collections import defaultdict
from datetime import date

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

from contracts.lake import Lake, up_to
from spark_jobs.session import session

SEPARATOR = "|"  # in `Lake.inputs`, between what a day was made of and the state of the catalogue
# The reject reasons that depend on the video's catalogue entry.
JUDGED_BY_VIDEO = ("unknown_video", "impossible_watch_time", "bot", "duplicate")


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


def cleaned(lake: Lake) -> dict[date, tuple[str, str]]:
    """Day -> what its interactions were made of, and the state of the catalogue that they agree with."""
    pairs = {day: made.partition(SEPARATOR) for day, made in lake.inputs("interactions").items()}
    return {date.fromisoformat(day): (made, state) for day, (made, _, state) in pairs.items()}


def state_of(lake: Lake, until: date) -> str:
    """What a catalogue is told by: the version of `videos`, its last day, and the days left out."""
    without = ",".join(str(day) for day in sorted(lake.without))
    return f"{lake.version('videos')} {until} {without}"


def touched(lake: Lake, until: date) -> set[date]:
    """The days up to this one that hold a video whose record is another one than when they were cleaned."""
    now, days_of = state_of(lake, until), defaultdict[str, set[date]](set)
    for day, (_, state) in cleaned(lake).items():
        if day <= until and day not in lake.without and state != now:
            days_of[state].add(day)
    found = [_touched_since(lake, state, until, days) for state, days in sorted(days_of.items())]
    return set().union(*found)


def confirm(lake: Lake, until: date) -> None:
    """Keep that all days up to this one that may be seen agree with the catalogue as it is now."""
    now = state_of(lake, until)
    old = {
        str(day): made
        for day, (made, state) in cleaned(lake).items()
        if day <= until and day not in lake.without and state != now
    }
    if old:
        lake.commit("interactions", [], [], {day: made + SEPARATOR + now for day, made in old.items()})


def _touched_since(lake: Lake, state: str, until: date, days: set[date]) -> set[date]:
    """Which of these days, cleaned in that state of the catalogue, hold a video that has changed since."""
    version, then_until, without = state.split(" ") if state else ("None", str(until), "")
    then_lake = Lake(without=[date.fromisoformat(day) for day in without.split(",") if day])
    if not state or (version != "None" and not then_lake.has_version("videos", int(version))):
        return days  # it was not kept, or has expired
    then_lake.pin({"videos": None if version == "None" else int(version)})
    spark = session("clean")
    then = durations(spark, then_lake, date.fromisoformat(then_until))
    changed = _changed(then, durations(spark, lake, until)).persist()
    found = _refused(spark, lake).join(changed, "video_id")
    if not (corrected := changed.where("old")).isEmpty():  # what was new since then is in none of the days
        found = found.unionByName(_kept(spark, lake).join(corrected, "video_id"))
    touched_days = {row["day"] for row in found.select("day").distinct().collect()}
    changed.unpersist()
    return days & touched_days


def digest_by_day(judged: DataFrame) -> dict[date, str]:
    """Day -> a digest of what is known of the videos of its events (`spark_jobs.clean.judge`)."""
    known: Column = F.coalesce(F.col("reason") != "unknown_video", F.lit(True))
    videos = judged.select("work_day", "video_id", "duration_ms", known.alias("known")).distinct()
    each = F.xxhash64("video_id", "duration_ms", "known").cast("decimal(38, 0)")
    sums = videos.groupBy("work_day").agg(F.sum(each).alias("digest")).collect()
    return {row["work_day"]: f"{int(row['digest']) % 2**64:016x}" for row in sums}


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
