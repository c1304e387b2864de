"""Collect the distinct videos that each user has watched, from all interactions, in one exchange by user."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from core.storage import StoragePath, arrow_source, create_folder
from core.tables import BEHAVIOURS, INTERACTIONS
from lake.client import Lake, up_to_day
from spark_jobs.exchange import count_buckets, deleted_at_end, read_bucket, split_by_user, task_scheduler

PAIR = ("user_id", "video_id")
COLUMNS = (*PAIR, "day", *BEHAVIOURS)  # the columns of `interactions` that are read
SEEN_ITEMS = pa.schema(
    {"user_id": pa.string(), "video_rows": pa.list_(pa.int32()), "first_days": pa.list_(pa.date32())}
)


@dataclass(frozen=True)
class SeenItemsFolders:
    """Where the tasks of one run find and put files.

    Attributes:
        exchange: the folder of the exchanged rows.
    """

    exchange: StoragePath

    @property
    def catalogue(self) -> StoragePath:
        """A Parquet file with `video_id` and its `video_row` in the catalogue."""
        return self.exchange / "catalogue.parquet"

    @property
    def pairs(self) -> StoragePath:
        """The folder of the pairs of user and video, split by user."""
        return self.exchange / "pairs"

    @property
    def seen_items(self) -> StoragePath:
        """The folder of the results, one file for each bucket."""
        return self.exchange / "seen_items"


def collect_seen_items(lake: Lake, video_ids: pa.ChunkedArray, until: date) -> Iterator[pa.Table]:
    """Yield all distinct videos that each user watched up to a day, with the first day of each.

    Sequences are too short for this, because they hold only the newest interactions.

    Args:
        lake: without blocked nights.
        video_ids: the ids of the catalogue.
        until: the day.

    Yields:
        Rows of `SEEN_ITEMS`, of the users of one bucket. A video that is not in the catalogue has the row
        null.
    """
    with (
        lake.lock("snapshot"),
        deleted_at_end(lake.create_staging_folder("interactions")) as exchange,
    ):
        folders = SeenItemsFolders(exchange)
        catalogue = pl.DataFrame({"video_id": video_ids}).with_row_index("video_row")
        catalogue.cast({"video_row": pl.Int32}).write_parquet(str(folders.catalogue))
        for path in _run_tasks(lake.data_files("interactions", up_to_day(until)), folders):
            yield pq.read_table(arrow_source(path), schema=SEEN_ITEMS)


def watched_pairs(interactions: pl.DataFrame) -> pl.DataFrame:
    """Return `user_id`, `video_id` and the first `day` of each pair that has an interaction with a behaviour.

    Args:
        interactions: the `COLUMNS` of rows of the table `interactions`.
    """
    watched = interactions.filter(pl.any_horizontal(BEHAVIOURS))
    return watched.group_by(*PAIR).agg(pl.col("day").min())


def write_seen_items(bucket: int, folders: SeenItemsFolders) -> StoragePath:
    """Write the videos that the users of a bucket have watched, with the first day of each.

    Args:
        bucket: the number of the bucket.
        folders: the folders of the run.

    Returns:
        The path of a file with rows of `SEEN_ITEMS`, sorted by user. Videos are in the order of the
        catalogue. A video that is not in it has the row null.
    """
    no_pairs = watched_pairs(pl.DataFrame(INTERACTIONS.schema.empty_table().select(COLUMNS)))
    pairs = read_bucket(folders.pairs, bucket, no_pairs)
    known = pairs.join(pl.read_parquet(str(folders.catalogue)), on="video_id", how="left")
    first_days = known.group_by("user_id", "video_row").agg(pl.col("day").min())
    lists = first_days.sort("user_id", "video_row").group_by("user_id", maintain_order=True)
    seen = lists.agg(pl.col("video_row").alias("video_rows"), pl.col("day").alias("first_days"))
    create_folder(folders.seen_items)
    path = folders.seen_items / f"{bucket:05d}.parquet"
    with path.open("wb") as file:
        pq.write_table(seen.to_arrow().cast(SEEN_ITEMS), file)
    return path


def _run_tasks(paths: Sequence[str], folders: SeenItemsFolders) -> list[StoragePath]:
    """Write one file for each bucket of users, and return their paths."""
    with task_scheduler("snapshot", paths) as scheduler:
        num_buckets = count_buckets(scheduler, paths)
        split_by_user(scheduler, paths, watched_pairs, folders.pairs, num_buckets, COLUMNS)
        return scheduler.run(partial(write_seen_items, folders=folders), range(num_buckets))
