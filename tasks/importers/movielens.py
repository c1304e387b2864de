"""MovieLens-100K in RecBole's form (GroupLens research terms): ratings with real time stamps, no media.

| file | column | becomes |
|---|---|---|
| `ml-100k.inter` | `user_id`, `item_id` | `user_id`, `video_id` |
| | `timestamp` (epoch seconds) | `event_time`, and the day received |
| | `rating` (1 to 5) | a `view` without `watch_ms`; and a `like` from 4 on, a `dislike` up to 2 |
| `ml-100k.item` | `movie_title`, `release_year` | `caption`: `Toy Story (1995)` |
| | `class` (genres, by spaces) | `hashtags`; the first one is the `category` |
| `ml-100k.user` | `age`, `gender`, `occupation`, `zip_code` | profile columns of the same names |

The whole catalogue is received on the first day of the log: a film received on the day of its first rating
would tell the model, by being there, that somebody is about to rate it. A user is received on the day of the
first rating. Upload and registration times are unknown.
"""

from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import pyarrow as pa

from tasks.importers.release import (
    Days,
    Record,
    Release,
    by_day,
    first_days,
    instant,
    need_folder,
    read_table,
)

FILES = ("ml-100k.inter", "ml-100k.item", "ml-100k.user")
LIKED, DISLIKED = 4, 2  # ratings from here up, and from here down

RATINGS = {
    "user_id:token": pa.string(),
    "item_id:token": pa.string(),
    "rating:float": pa.float64(),
    "timestamp:float": pa.float64(),
}
ITEMS = dict.fromkeys(
    ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"), pa.string()
)
USERS = dict.fromkeys(
    ("user_id:token", "age:token", "gender:token", "occupation:token", "zip_code:token"), pa.string()
)


def read(path: Path) -> Release:
    """The release in `path`.

    Raises:
        InputError: a file or column is missing or has other types.
    """
    need_folder(path, FILES)
    inter, item, user = (path / name for name in FILES)
    events = by_day(_events(inter))
    first = first_days(events, "user_id")
    users: Days = {day: [] for day in sorted(set(first.values()))}
    for record in _users(user):
        if record["user_id"] in first:
            users[first[record["user_id"]]].append(record)
    return Release({"users": users, "videos": {min(events): list(_videos(item))}, "events": events})


def _events(path: Path) -> Iterator[Record]:
    """A view and perhaps an opinion for each rating, by time, user and film."""
    ratings = read_table(path, RATINGS, "\t")
    for row in sorted(ratings, key=itemgetter("timestamp:float", "user_id:token", "item_id:token")):
        user, item, rating, seconds = (row[column] for column in RATINGS)
        for kind in ["view"] + ["like"] * (rating >= LIKED) + ["dislike"] * (rating <= DISLIKED):
            yield {
                "event_id": f"ml-{user}-{item}-{kind}",
                "user_id": user,
                "video_id": item,
                "event_type": kind,
                "event_time": instant(1000 * seconds),
            }


def _videos(path: Path) -> Iterator[Record]:
    for row in read_table(path, ITEMS, "\t", optional=list(ITEMS)[1:]):
        item, title, year, genres = (row[column] for column in ITEMS)
        hashtags = (genres or "").split()
        yield {
            "video_id": item,
            "caption": f"{title} ({year})" if title and year else title,
            "hashtags": hashtags,
            "category": hashtags[0] if hashtags else None,
        }


def _users(path: Path) -> Iterator[Record]:
    for row in read_table(path, USERS, "\t", optional=list(USERS)[1:]):
        yield {column.partition(":")[0]: value for column, value in row.items()}
