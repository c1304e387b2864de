"""The events of `simulator stream`, with a chosen share of all events by one user."""

import shutil
from pathlib import Path

import polars as pl

PARTS_PER_MILLION = 1_000_000


def write_landing(landing: Path, out: Path, share: float) -> None:
    """Copy a landing folder so that its heaviest user has at most a share of all events.

    The other events of this user are dealt to all users. The number of events does not change. The events
    of one video on one day stay together, because some of them form an interaction.

    Args:
        landing: The landing folder of `simulator stream`.
        out: The new landing folder. It is left as it is if it exists.
        share: The share, from 0 to 1.
    """
    if out.is_dir():
        return
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(landing, partial)
    paths = sorted(partial.glob("events/*/*.parquet"))
    users = pl.scan_parquet(paths).group_by("user_id").len().drop_nulls().sort("len", "user_id").collect()
    heaviest, events = users.row(-1)
    kept = min(1.0, share * int(users["len"].sum()) / events)
    for path in paths:
        _deal_events(pl.read_parquet(path), heaviest, kept, users["user_id"]).write_parquet(path)
    partial.rename(out)


def _deal_events(events: pl.DataFrame, user: str, kept: float, users: pl.Series) -> pl.DataFrame:
    """Give the events of a user to all users, without a share that is kept. A hash of the video decides."""
    is_dealt = pl.col("video_id").hash(seed=1) % PARTS_PER_MILLION >= kept * PARTS_PER_MILLION
    day = pl.from_epoch("event_time", time_unit="ms").dt.date()
    position = pl.struct("video_id", day.alias("day")).hash(seed=2) % len(users)
    dealt = pl.lit(users).gather(position)
    return events.with_columns(
        pl.when((pl.col("user_id") == user) & is_dealt).then(dealt).otherwise("user_id").alias("user_id")
    )
