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

import pyarrow as pa

from datasets.landing_form import (
    Record,
    RecordsByDay,
    Release,
    group_by_day,
    read_table,
    require_files,
    utc_time,
)

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
USER_COLUMNS = dict.fromkeys(("user_id", *PROFILE), pa.string())
VIDEO_COLUMNS = {
    "video_id": pa.string(),
    "author_id": pa.string(),
    "upload_dt": pa.date32(),
    "video_duration": pa.float64(),
    "tag": pa.string(),
}
LOG_COLUMNS = {
    "user_id": pa.string(),
    "video_id": pa.string(),
    "time_ms": pa.int64(),
    "is_click": pa.int64(),
    "play_time_ms": pa.int64(),
    **dict.fromkeys(BEHAVIOUR_EVENTS, pa.int64()),
}


def read_landing_form(path: Path) -> Release:
    """Read the release in the folder `path` and convert it to landing form.

    Raises:
        InputError: A file or column is missing, or a column has another type.
    """
    require_files(path, [USERS, VIDEOS])
    logs = sorted(path.glob("log_*.csv"))
    events = group_by_day(_events(logs)) if logs else {}
    first = min(events, default=FIRST_DAY)
    users = read_table(path / USERS, USER_COLUMNS, nullable=PROFILE)
    days_by_type = {"users": {first: users}, "videos": _videos(path / VIDEOS, first), "events": events}
    notes = [f"{len(logs)} log files: {', '.join(log.name for log in logs) or 'none in this copy'}"]
    return Release({name: days for name, days in days_by_type.items() if days}, notes)


def _events(logs: list[Path]) -> Iterator[Record]:
    """Yield the events by time. Events of the same time keep the order of the files."""
    rows = [row for log in logs for row in read_table(log, LOG_COLUMNS)]
    for row in sorted(rows, key=itemgetter("time_ms")):
        watch_type = "view" if row["is_click"] or row["play_time_ms"] else "impression"
        for event_type in [watch_type, *(name for column, name in BEHAVIOUR_EVENTS.items() if row[column])]:
            yield {
                "event_id": f"kuairand-{row['user_id']}-{row['video_id']}-{row['time_ms']}-{event_type}",
                "user_id": row["user_id"],
                "video_id": row["video_id"],
                "event_type": event_type,
                "event_time": utc_time(row["time_ms"]),
                "watch_ms": row["play_time_ms"] if event_type == "view" else None,
            }


def _videos(path: Path, first: date) -> RecordsByDay:
    """Return the videos by the day received, which is the upload day if it is known."""
    days: RecordsByDay = defaultdict(list)
    optional = ("author_id", "upload_dt", "video_duration", "tag")
    for row in read_table(path, VIDEO_COLUMNS, nullable=optional):
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
