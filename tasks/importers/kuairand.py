"""KuaiRand-Pure: real profiles and short videos' metadata, and the real logs where the folder has them.

| file | column | becomes |
|---|---|---|
| `user_features_pure.csv` | `user_id` | `user_id` |
| | the 30 others | profile columns of the same names, as they are (`is_live_streamer` −124 too) |
| `video_features_basic_pure.csv` | `video_id`, `author_id` | the same |
| | `upload_dt` | `upload_time`, midnight in Beijing, and the UTC day received |
| | `video_duration` (ms) | `duration_ms` |
| | `tag` (numbers, by commas) | `hashtags`; the first one is the `category` |
| `log_*.csv` (optional) | `user_id`, `video_id` | the same |
| | `time_ms` (epoch) | `event_time`, and the UTC day received |
| | `is_click`, `play_time_ms` | either: a `view` with `watch_ms`; neither: an `impression` |
| | `is_like`, `is_comment`, `is_forward` | `like`, `comment`, `share` |
| | `is_follow`, `is_hate` | `follow`, `dislike` |

Users, and videos without `upload_dt`, are received on the first day of the log; without a log, on FIRST_DAY,
the first day of the release's own. How long somebody has been registered comes as a number of days and stays
a profile column (`register_days`). No copy with logs was at hand: that part is tested on a made one only.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from operator import itemgetter
from pathlib import Path

import pyarrow as pa

from tasks.importers.release import Days, Record, Release, by_day, instant, need_folder, read_table

USERS, VIDEOS = "user_features_pure.csv", "video_features_basic_pure.csv"
FIRST_DAY = date(2022, 4, 8)
BEIJING = timezone(timedelta(hours=8))
KINDS = {
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
    **dict.fromkeys(KINDS, pa.int64()),
}


def read(path: Path) -> Release:
    """The release in `path`.

    Raises:
        InputError: a file or column is missing or has other types.
    """
    need_folder(path, [USERS, VIDEOS])
    logs = sorted(path.glob("log_*.csv"))
    events = by_day(_events(logs)) if logs else {}
    first = min(events, default=FIRST_DAY)
    users = read_table(path / USERS, USER_COLUMNS, optional=PROFILE)
    kinds = {"users": {first: users}, "videos": _videos(path / VIDEOS, first), "events": events}
    notes = [f"{len(logs)} log files: {', '.join(log.name for log in logs) or 'none in this copy'}"]
    return Release({kind: days for kind, days in kinds.items() if days}, notes)


def _events(logs: list[Path]) -> Iterator[Record]:
    """What was seen and done, by time; the files' own order decides among equals."""
    rows = [row for log in logs for row in read_table(log, LOG_COLUMNS)]
    for row in sorted(rows, key=itemgetter("time_ms")):
        seen = "view" if row["is_click"] or row["play_time_ms"] else "impression"
        for kind in [seen, *(kind for column, kind in KINDS.items() if row[column])]:
            yield {
                "event_id": f"kuairand-{row['user_id']}-{row['video_id']}-{row['time_ms']}-{kind}",
                "user_id": row["user_id"],
                "video_id": row["video_id"],
                "event_type": kind,
                "event_time": instant(row["time_ms"]),
                "watch_ms": row["play_time_ms"] if kind == "view" else None,
            }


def _videos(path: Path, first: date) -> Days:
    """The catalogue by day received, which is the day of the upload where that is known."""
    days: Days = defaultdict(list)
    optional = ("author_id", "upload_dt", "video_duration", "tag")
    for row in read_table(path, VIDEO_COLUMNS, optional=optional):
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
