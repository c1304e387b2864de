"""MicroLens (research terms of its authors): real interactions with times, and titles of short videos.

| file | column | becomes |
|---|---|---|
| `*pairs.csv` | `user`, `item` | `user_id`, `video_id` |
| | `timestamp` (epoch milliseconds) | `event_time`, and the day received |
| `*titles.csv` | `item`, `title` | `video_id`, `caption` |
| `videos/<item>.mp4` (optional) | | `media_uri`, as an absolute path |

A pair says that the user commented on the video. The text of the comment and the watch time are not in the
release. So a pair becomes a `view` without `watch_ms`, which counts as watched for long enough.

A second row of the same pair is rejected. The release has videos without a title: they are in the catalogue
without a caption, and are counted in a note. The whole catalogue is received on the first day of the log.
Otherwise a video's arrival would reveal that it is about to be watched. There are no user profiles.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from core.errors import InputError
from datasets.landing_form import Record, Release, group_by_day, require_files, utc_time
from datasets.release_tables import CellType, ReleaseTable, read_table

PAIRS, TITLES, MEDIA_FOLDER = "*pairs.csv", "*titles.csv", "videos"
PAIR_COLUMNS: dict[str, CellType] = {"user": pl.String, "item": pl.String, "timestamp": pl.Int64}
TITLE_COLUMNS: dict[str, CellType] = {"item": pl.String, "title": pl.String}
MIN_MILLISECONDS = 10**11  # in 1973; a smaller number is a time in seconds


def read_landing_form(path: Path) -> Release:
    """Read the release in the folder `path` and convert it to landing form.

    Raises:
        InputError: A file or column is missing, or a table has no row to use.
    """
    titles = read_table(_find_file(path, TITLES), TITLE_COLUMNS, optional=["title"]).reject_repeated("item")
    pairs = read_table(_find_file(path, PAIRS), PAIR_COLUMNS)
    pairs = pairs.reject(pl.col("timestamp") < MIN_MILLISECONDS, "invalid_timestamp")
    pairs = pairs.reject_invalid_time("timestamp", units_per_second=1000).reject_repeated("user", "item")
    videos = _catalogue(titles, pairs)
    events = group_by_day(_events(pairs))
    without_title = videos["title"].null_count()
    note = f"{without_title} of {len(videos)} videos have no title, so they have no caption"
    records = [_video(row, path.resolve() / MEDIA_FOLDER) for row in videos.to_dicts()]
    return Release({"videos": {min(events): records}, "events": events}, [pairs, titles], [note])


def _find_file(path: Path, pattern: str) -> Path:
    """Return the one file of the folder with such a name, as in `MicroLens-100k_pairs.csv`.

    Raises:
        InputError: There is none, or there are several.
    """
    require_files(path, [])
    files = sorted(path.glob(pattern))
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "no such file"
        raise InputError(f"--path {path} must hold one file {pattern}, but holds {names}")
    return files[0]


def _catalogue(titles: ReleaseTable, pairs: ReleaseTable) -> pl.DataFrame:
    """Return `item` and `title` of all videos that one of the files names, sorted by id."""
    watched = pairs.rows.select("item").unique()
    return titles.rows.join(watched, on="item", how="full", coalesce=True).sort("item")


def _events(pairs: ReleaseTable) -> Iterator[Record]:
    """Yield a view for each pair by time, user and video."""
    for user, item, milliseconds in pairs.rows.sort("timestamp", "user", "item").iter_rows():
        yield {
            "event_id": f"microlens-{user}-{item}",
            "user_id": user,
            "video_id": item,
            "event_type": "view",
            "event_time": utc_time(milliseconds / 1000),
        }


def _video(row: Record, media_folder: Path) -> Record:
    media = media_folder / f"{row['item']}.mp4"
    is_own = media.parent == media_folder and media.is_file()  # an id with a slash is no file name
    return {
        "video_id": row["item"],
        "caption": row["title"],
        "media_uri": str(media) if is_own else None,
    }
