"""The work of ingest, clean and sequences as one polars script: the yardstick of `benchmarks.speed.lake`.

It applies the same rules to the Parquet files of `simulator stream`, in one process and in memory. It has no
strict parsing, no source lines of rejects, no sentiment, no tables and no second run. The last line is JSON.
"""

import argparse
import json
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from benchmarks.result import peak_mib
from core.config import CleanConfig, load_params
from core.paths import PROJECT_ROOT, parse_day
from core.tables import BEHAVIOUR_EVENTS
from core.time_split import split_by_time
from spark_jobs.clean import EVENT_TYPES

ORDER = ("t", "file", "line")  # of events with one key


def main() -> int:
    """Run the yardstick. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.lake.polars_lake", description=__doc__)
    parser.add_argument("--landing", type=Path, required=True, help="landing folder of `simulator stream`")
    parser.add_argument("--night", required=True, help="last day, YYYY-MM-DD")
    args = parser.parse_args()
    params, night = load_params(PROJECT_ROOT / "params.yaml"), parse_day(args.night)
    labelled = label_events(args.landing, params.section("clean")).collect(engine="streaming")
    kept, rejected = mark_duplicates_and_bots(labelled, params.section("clean"))
    interactions = join_interactions(kept, params.section("clean"))
    split = split_by_time(night, frozenset(), params.section("sequences").validation_days, None)
    days = [*split.known_until.values(), night]
    with tempfile.TemporaryDirectory(prefix="undercurrent-yardstick-") as folder:
        interactions.write_parquet(Path(folder) / "interactions.parquet")
        num_sequences = write_sequences(
            interactions, days, params.section("sequences").max_length, Path(folder)
        )
    counts = {
        "events": int(interactions["events"].sum()),
        "rejected": dict(sorted(rejected.iter_rows())),
        "interactions": interactions.height,
        "sequences": num_sequences,
        "peak_mib": peak_mib(),
    }
    print(json.dumps(counts))
    return 0


def label_events(landing: Path, params: CleanConfig) -> pl.LazyFrame:
    """Return all events with their partition day and the first reason of a row rule, or null."""
    parts = [
        pl.scan_parquet(path, row_index_name="line").with_columns(
            received=pl.lit(date.fromisoformat(path.parent.name.removeprefix("dt="))),
            file=pl.lit(path.relative_to(landing).as_posix()),
        )
        for path in sorted(landing.glob("events/*/*.parquet"))
    ]
    videos = pl.scan_parquet(landing / "videos" / "*" / "*.parquet")
    events = pl.concat(parts).with_columns(
        t=pl.from_epoch("event_time", time_unit="ms").dt.cast_time_unit("us"),
        device=pl.col("context").struct.field("device"),
        network=pl.col("context").struct.field("network"),
    )
    lateness = (pl.col("received") - pl.col("t").dt.date()).dt.total_days()
    in_time = lateness.is_between(0, params.late_days)
    catalogue = videos.select("video_id", "duration_ms", known=pl.lit(True)).unique("video_id")
    joined = events.drop("context", "event_time").join(catalogue, on="video_id", how="left")
    dated = joined.with_columns(day=pl.when(in_time).then(pl.col("t").dt.date()).otherwise("received"))
    return dated.with_columns(reason=_row_reason(lateness, params))


def _row_reason(lateness: pl.Expr, params: CleanConfig) -> pl.Expr:
    end_of_day = pl.col("received").cast(pl.Datetime("us")) + timedelta(
        days=1, minutes=params.clock_skew_minutes
    )
    max_watch_ms = (pl.col("duration_ms") * params.max_replays).fill_null(params.max_watch_minutes * 60_000)
    rules = {
        "missing_event_id": pl.col("event_id").is_null(),
        "missing_user": pl.col("user_id").is_null(),
        "missing_video": pl.col("video_id").is_null(),
        "missing_event_time": pl.col("t").is_null(),
        "unknown_event_type": ~pl.col("event_type").is_in(EVENT_TYPES).fill_null(False),
        "event_time_in_future": pl.col("t") > end_of_day,
        "arrived_too_late": lateness > params.late_days,
        "unknown_video": pl.col("known").is_null(),
        "impossible_watch_time": (pl.col("watch_ms") < 0) | (pl.col("watch_ms") > max_watch_ms),
    }
    return pl.coalesce(*[pl.when(rule).then(pl.lit(reason)) for reason, rule in rules.items()])


def mark_duplicates_and_bots(events: pl.DataFrame, params: CleanConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the kept events, and the number of rejected ones by reason."""
    bad, valid = events.filter(pl.col("reason").is_not_null()), events.filter(pl.col("reason").is_null())
    valid = valid.sort("user_id", "day", *ORDER)
    valid = valid.with_columns(repeat=~pl.struct("user_id", "day", "event_id").is_first_distinct())
    per_hour = valid.filter(~pl.col("repeat")).group_by(
        "user_id", "day", pl.col("t").dt.truncate("1h").alias("hour")
    )
    busiest = per_hour.len().group_by("user_id", "day").agg(pl.col("len").max().alias("max_per_hour"))
    is_bot = pl.col("max_per_hour") > params.bot_events_per_hour
    reason = pl.when("repeat").then(pl.lit("duplicate_event")).when(is_bot).then(pl.lit("suspected_bot"))
    valid = valid.join(busiest, on=["user_id", "day"], how="left", maintain_order="left")
    valid = valid.with_columns(reason=reason)
    refused = valid.filter(pl.col("reason").is_not_null())
    counts = pl.concat([bad.select("reason"), refused.select("reason")])["reason"].value_counts()
    return valid.filter(pl.col("reason").is_null()), counts


def join_interactions(events: pl.DataFrame, params: CleanConfig) -> pl.DataFrame:
    """Join kept events to interactions."""
    key = ("user_id", "video_id", "day")
    events = events.sort(*key, *ORDER, "event_id")
    is_same = pl.all_horizontal(pl.col(name) == pl.col(name).shift(1) for name in key)
    pause = pl.col("t") - pl.col("t").shift(1) > timedelta(minutes=params.session_gap_minutes)
    event_type = pl.col("event_type")
    unannounced = (event_type == "view") & (event_type.shift(1) != "impression")
    starts = (~is_same | pause | (event_type == "impression") | unannounced).fill_null(True)
    return (
        events.with_columns(session=starts.cast(pl.Int32).cum_sum())
        .group_by("session", maintain_order=True)
        .agg(
            *[pl.col(name).first() for name in (*key, "duration_ms")],
            pl.col("t").min().alias("started_at"),
            pl.col("watch_ms").max().alias("watched_ms"),
            pl.len().alias("events"),
            *[(event_type == kind).any().alias(name) for name, kind in BEHAVIOUR_EVENTS.items()],
            *[pl.col(name).drop_nulls().first() for name in ("device", "network")],
        )
        .with_columns(watch_ratio=pl.col("watched_ms") / pl.col("duration_ms"))
    )


def write_sequences(interactions: pl.DataFrame, days: list[date], max_length: int, folder: Path) -> int:
    """Write the newest interactions of each user at the end of each day, and return how many rows."""
    columns = ("video_id", "started_at", "watch_ratio", "device", "network", *BEHAVIOUR_EVENTS)
    engaged = interactions.filter(pl.any_horizontal(*BEHAVIOUR_EVENTS)).sort(
        "user_id", "started_at", "video_id"
    )
    rows = 0
    for day in days:
        users = engaged.filter(pl.col("day") <= day).group_by("user_id", maintain_order=True)
        sequences = users.agg(*[pl.col(name).tail(max_length) for name in columns])
        sequences.write_parquet(folder / f"sequences-{day}.parquet")
        rows += sequences.height
    return rows


if __name__ == "__main__":
    sys.exit(main())
