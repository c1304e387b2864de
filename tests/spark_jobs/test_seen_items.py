from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from core.tables import BEHAVIOURS, INTERACTIONS
from spark_jobs.exchange import TaskScheduler, split_by_user
from spark_jobs.seen_items import COLUMNS, SEEN_ITEMS, SeenItemsFolders, watched_pairs, write_seen_items

DAY = date(2026, 3, 5)
VIDEO_ROWS = {"v": 0, "w": 1, "x": 2}


def _interaction(user: str, video: str, days_ago: int, viewed: bool) -> dict[str, Any]:
    row = dict.fromkeys(INTERACTIONS.schema.names) | dict.fromkeys(BEHAVIOURS, False)
    return row | {"user_id": user, "video_id": video, "day": DAY - timedelta(days_ago), "viewed": viewed}


INTERACTION = st.builds(
    _interaction,
    user=st.sampled_from("abcd"),
    video=st.sampled_from([*VIDEO_ROWS, "gone"]),
    days_ago=st.integers(0, 3),
    viewed=st.booleans(),
)


def _seen_items(files: list[list[dict[str, Any]]], num_buckets: int, folder: Path) -> pa.Table:
    """Write files of interactions, and return what the tasks collect from them."""
    folders = SeenItemsFolders(folder)
    paths = [str(folder / f"{number}.parquet") for number in range(len(files))]
    for path, rows in zip(paths, files, strict=True):
        pq.write_table(pa.Table.from_pylist(rows, INTERACTIONS.schema), path)
    catalogue = pl.DataFrame({"video_id": list(VIDEO_ROWS), "video_row": list(VIDEO_ROWS.values())})
    catalogue.cast({"video_row": pl.Int32}).write_parquet(folders.catalogue)
    split_by_user(TaskScheduler(), paths, watched_pairs, folders.pairs, num_buckets, COLUMNS)
    parts = [pq.read_table(write_seen_items(bucket, folders)) for bucket in range(num_buckets)]
    assert all(part.schema == SEEN_ITEMS for part in parts)
    assert all(part["user_id"].to_pylist() == sorted(part["user_id"].to_pylist()) for part in parts)
    return pa.concat_tables(parts)


@given(st.lists(st.lists(INTERACTION, max_size=6), max_size=3), st.integers(1, 3))
def test_each_watched_video_is_listed_once_with_its_first_day(tmp_path_factory, files, num_buckets):
    first_days: dict[str, dict[int | None, date]] = {}
    for row in (row for rows in files for row in rows if row["viewed"]):
        of_user = first_days.setdefault(row["user_id"], {})
        video_row = VIDEO_ROWS.get(row["video_id"])
        of_user[video_row] = min(row["day"], of_user.get(video_row, date.max))
    seen = _seen_items(files, num_buckets, tmp_path_factory.mktemp("seen")).to_pylist()
    assert len(seen) == len(first_days)
    for row in seen:
        known = [video_row for video_row in row["video_rows"] if video_row is not None]
        assert known == sorted(known)
        pairs = dict(zip(row["video_rows"], row["first_days"], strict=True))
        assert pairs == first_days[row["user_id"]]
        assert len(pairs) == len(row["video_rows"])
