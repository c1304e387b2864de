"""KuaiRand-Pure: real user profiles, metadata of short videos, and the logs if the folder has them.

| file | column | becomes |
|---|---|---|
| `user_features_pure.csv` | `user_id` | `user_id` |
| | the 30 others | profile columns of the same names, unmodified (also `is_live_streamer` −124) |
| `video_features_basic_pure.csv` | `video_id`, `author_id` | the same |
| | `upload_dt` | `upload_time` at midnight in Beijing, and the UTC day received |
| | `video_duration` (ms) | `duration_ms` |
| | `tag` (numbers separated by commas) | `hashtags`; the first one is the `category` |
| `log_*.csv` (optional) | `user_id`, `video_id` | the same |
| | `time_ms` (epoch) | `event_time`, and the UTC day received |
| | `is_click`, `play_time_ms` | a `view` with `watch_ms` if either is set, else an `impression` |
| | `is_like`, `is_comment`, `is_forward` | `like`, `comment`, `share` |
| | `is_follow`, `is_hate` | `follow`, `dislike` |

Users, and videos without `upload_dt`, are received on the first day of the log. Without a log this is
FIRST_DAY, the first day of the release's log. The time since registration is given in days and stays a
profile column (`register_days`). No copy with logs was available, so logs are tested with made-up data only,
and there is no evaluation split.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from operator import itemgetter
from pathlib import Path

import polars as pl

from datasets.landing_form import (
    Record,
    RecordsByDay,
    Release,
    group_by_day,
    require_files,
    utc_time,
)
from datasets.release_tables import CellType, ReleaseTable, read_table

USERS, VIDEOS = "user_features_pure.csv", "video_features_basic_pure.csv"
FIRST_DAY = date(2022, 4, 8)
BEIJING = timezone(timedelta(hours=8))
BEHAVIOUR_EVENTS = {
    "is_like": "like",
    "is_comment": "comment",
    "is_forward": "share",
    "is_follow": "follow",
    "is_hate": "dislike",
}
PROFILE = (
    "user_active_degree",
    "is_lowactive_period",
    "is_live_streamer",
    "is_video_author",
    *(f"{who}_user_num{form}" for who in ("follow", "fans", "friend") for form in ("", "_range")),
    "register_days",
    "register_days_range",
    *(f"onehot_feat{n}" for n in range(18)),
)
USER_COLUMNS: dict[str, CellType] = dict.fromkeys(("user_id", *PROFILE), pl.String)
VIDEO_COLUMNS: dict[str, CellType] = {
    "video_id": pl.String,
    "author_id": pl.String,
    "upload_dt": pl.Date,
    "video_duration": pl.Float64,
    "tag": pl.String,
}
OPTIONAL_VIDEO_COLUMNS = [*VIDEO_COLUMNS][1:]
LOG_COLUMNS: dict[str, CellType] = {
    "user_id": pl.String,
    "video_id": pl.String,
    "time_ms": pl.Int64,
    "is_click": pl.Int64,
    "play_time_ms": pl.Int64,
    **dict.fromkeys(BEHAVIOUR_EVENTS, pl.Int64),
}


def read_landing_form(path: Path) -> Release:
    """Read the release in the folder `path` and convert it to landing form.

    A second row of a user, of a video, or of a user, video and time is rejected.

    Raises:
        InputError: A file or column is missing, or a table has no row to use.
    """
    require_files(path, [USERS, VIDEOS])
    logs = [_read_log(log) for log in sorted(path.glob("log_*.csv"))]
    users = read_table(path / USERS, USER_COLUMNS, optional=PROFILE).reject_repeated("user_id")
    videos = read_table(path / VIDEOS, VIDEO_COLUMNS, optional=OPTIONAL_VIDEO_COLUMNS)
    videos = videos.reject_repeated("video_id")
    events = group_by_day(_events(logs)) if logs else {}
    first = min(events, default=FIRST_DAY)
    days_by_type = {"users": {first: users.records()}, "videos": _videos(videos, first), "events": events}
    names = ", ".join(log.path.name for log in logs) or "none in this copy"
    return Release(
        {name: days for name, days in days_by_type.items() if days},
        [*logs, users, videos],
        [f"{len(logs)} log files: {names}"],
    )


def _read_log(path: Path) -> ReleaseTable:
    table = read_table(path, LOG_COLUMNS).reject_invalid_time("time_ms", units_per_second=1000)
    return table.reject_repeated("user_id", "video_id", "time_ms")


def _events(logs: list[ReleaseTable]) -> Iterator[Record]:
    """Yield the events by time. Events of the same time keep the order of the files."""
    rows = [row for log in logs for row in log.records()]
    for row in sorted(rows, key=itemgetter("time_ms")):
        watch_type = "view" if row["is_click"] or row["play_time_ms"] else "impression"
        for event_type in [watch_type, *(name for column, name in BEHAVIOUR_EVENTS.items() if row[column])]:
            yield {
                "event_id": f"kuairand-{row['user_id']}-{row['video_id']}-{row['time_ms']}-{event_type}",
                "user_id": row["user_id"],
                "video_id": row["video_id"],
                "event_type": event_type,
                "event_time": utc_time(row["time_ms"] / 1000),
                "watch_ms": row["play_time_ms"] if event_type == "view" else None,
            }


def _videos(table: ReleaseTable, first: date) -> RecordsByDay:
    """Return the videos by the day received, which is the upload day if it is known."""
    days: RecordsByDay = defaultdict(list)
    for row in table.records():
        uploaded = row["upload_dt"] and datetime.combine(row["upload_dt"], time(), BEIJING)
        tags = row["tag"].split(",") if row["tag"] else []
        record = {
            "video_id": row["video_id"],
            "author_id": row["author_id"],
            "upload_time": uploaded and uploaded.isoformat(),
            "duration_ms": row["video_duration"] and int(row["video_duration"]),
            "hashtags": tags,
            "category": tags[0] if tags else None,
        }
        days[uploaded.astimezone(UTC).date() if uploaded else first].append(record)
    return days
