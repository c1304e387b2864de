"""Build the sequences of users from their interactions, and continue the sequences of an earlier day.

A sequence holds the newest interactions of a user in a total order of their content. So the sequences at the
end of a day are a function of those at the end of an earlier day and of the interactions in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from core.storage import StoragePath
from core.tables import BEHAVIOURS, INTERACTIONS, PLAYBACK_SIGNALS, SEQUENCES
from spark_jobs.exchange import read_bucket
from spark_jobs.staging import stage_parquet

# The values of an interaction -> their column in `sequences`. They are in the order of the interactions:
# by the first value, then by the next.
COLUMNS = {
    "started_at": "started_at",
    "video_id": "video_ids",
    "watch_ratio": "watch_ratios",
    "bits": "behaviours",
    "comment_sentiment": "comment_sentiments",
    "utc_offset_minutes": "utc_offset_minutes",
    "device": "devices",
    "network": "networks",
}

ROW_GROUP_USERS = 1 << 13  # `snapshot` reads one range of users after the other


@dataclass(frozen=True)
class SequenceFolders:
    """Where the tasks of one run find and put files.

    Attributes:
        exchange: the folder of the exchanged rows.
        staging: the staging folder of the table.
    """

    exchange: StoragePath
    staging: StoragePath

    @property
    def base(self) -> StoragePath:
        """The folder of the sequences of an earlier day, which are continued."""
        return self.exchange / "base"

    @property
    def interactions(self) -> StoragePath:
        """The folder of the interactions of the days after it."""
        return self.exchange / "interactions"


def engaged_interactions(interactions: pl.DataFrame) -> pl.DataFrame:
    """Return the values that sequences keep of the interactions with a behaviour.

    Args:
        interactions: rows of the table `interactions`.

    Returns:
        `user_id`, `day` and the keys of `COLUMNS`. Bit i of `bits` is `BEHAVIOURS[i]`. The bits after them
        say whether there was a pause, a replay and a swipe.
    """
    flags = [pl.col(name) for name in BEHAVIOURS]
    flags += [pl.col(name).fill_null(0) > 0 for name in PLAYBACK_SIGNALS]
    bits = pl.sum_horizontal(flag.cast(pl.Int32) * (1 << position) for position, flag in enumerate(flags))
    return (
        interactions.filter(pl.any_horizontal(BEHAVIOURS))
        .with_columns(bits.cast(pl.Int32).alias("bits"))
        .select("user_id", "day", *COLUMNS)
    )


def stored_sequences(sequences: pl.DataFrame) -> pl.DataFrame:
    """Return rows of the table `sequences` without their day, for `continue_sequences`."""
    return sequences.drop("day")


def continue_sequences(sequences: pl.DataFrame, interactions: pl.DataFrame, max_length: int) -> pl.DataFrame:
    """Add interactions to sequences. Sequences of other users stay as they are.

    Args:
        sequences: `user_id` and the values of `COLUMNS`, one row for each user.
        interactions: rows of `engaged_interactions`.
        max_length: most interactions of a sequence. The newest are kept.

    Returns:
        Rows like `sequences`, in no particular order.
    """
    names_of_lists = {column: name for name, column in COLUMNS.items()}
    affected = sequences.join(interactions, on="user_id", how="semi")
    known = affected.explode(*names_of_lists).rename(names_of_lists)
    ordered = pl.concat([known, interactions.select(known.columns)]).sort("user_id", *COLUMNS)
    newest = ordered.group_by("user_id", maintain_order=True).agg(pl.col(*COLUMNS).tail(max_length))
    unaffected = sequences.join(interactions, on="user_id", how="anti")
    return pl.concat([unaffected, newest.rename(COLUMNS).select(unaffected.columns)])


def build_bucket(
    bucket: int, folders: SequenceFolders, base_files: Sequence[str], days: Sequence[date], max_length: int
) -> list[StoragePath]:
    """Write the sequences of the users of a bucket at the end of each day.

    A row holds no interaction of a later day.

    Args:
        bucket: the number of the bucket.
        folders: the folders of the run.
        base_files: the files of the base, one for each bucket. Empty: the base was split, or there is none.
        days: the days, oldest first. The base is older than all of them.
        max_length: most interactions of a sequence.

    Returns:
        The paths of the staged files.
    """
    no_sequences = stored_sequences(pl.DataFrame(SEQUENCES.schema.empty_table()))
    no_interactions = engaged_interactions(pl.DataFrame(INTERACTIONS.schema.empty_table()))
    sequences = (
        stored_sequences(pl.scan_parquet(base_files[bucket]).collect())
        if base_files
        else read_bucket(folders.base, bucket, no_sequences)
    )
    interactions = read_bucket(folders.interactions, bucket, no_interactions)
    paths = []
    for day in days:
        is_known = pl.col("day") <= day
        sequences = continue_sequences(sequences, interactions.filter(is_known), max_length)
        interactions = interactions.filter(~is_known)
        rows = sequences.with_columns(pl.lit(day).alias("day"))
        paths += stage_parquet(rows, SEQUENCES, ["user_id"], folders.staging, bucket, ROW_GROUP_USERS)
    return paths
