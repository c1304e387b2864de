"""Write six days of a small platform as landing files: `python write_landing.py DIR`.

It stands for your own export. Each function writes one landing type as docs/data-contract.md describes it.
Women like cooking and music, the other users sport and comedy. The same files are written each time.
"""

import json
import random
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

FIRST_DAY = date(2026, 1, 10)
DAYS, USERS, VIDEOS, VIEWS_PER_DAY = 6, 80, 60, 5
TOPICS = ("cooking", "music", "sport", "comedy")


def main(landing: Path) -> None:
    rng = random.Random(7)
    days = [FIRST_DAY + timedelta(n) for n in range(DAYS)]
    write(landing / "users" / f"dt={days[0]}" / "users.jsonl", users())
    write(landing / "videos" / f"dt={days[0]}" / "videos.jsonl", videos())
    for day in days:
        write(landing / "events" / f"dt={day}" / "events.jsonl", events(day, rng))


def users() -> Iterable[dict[str, Any]]:
    """Yield the profiles. All fields other than the id and the time form the profile."""
    for user in range(USERS):
        yield {
            "user_id": f"u{user}",
            "registration_time": f"{FIRST_DAY}T00:00:00Z",
            "gender": "fm"[user % 2],
            "country": ("DE", "FR", "IT")[user % 3],
            "age": 18 + user % 60,
        }


def videos() -> Iterable[dict[str, Any]]:
    """Yield the catalogue."""
    for video in range(VIDEOS):
        topic = TOPICS[video % len(TOPICS)]
        yield {
            "video_id": f"v{video}",
            "author_id": f"a{video % 7}",
            "caption": f"{topic} number {video}",
            "hashtags": [topic],
            "category": topic,
            "duration_ms": 15_000,
        }


def events(day: date, rng: random.Random) -> Iterable[dict[str, Any]]:
    """Yield a view of each user for each watched video, and a like after some of them."""
    for user in range(USERS):
        for number in range(VIEWS_PER_DAY):
            video = rng.randrange(VIDEOS)
            is_favourite = (video % len(TOPICS) < 2) == (user % 2 == 0)
            time = datetime(day.year, day.month, day.day, 8 + 2 * number, user % 60, tzinfo=UTC)
            event = {
                "event_id": f"{day}-{user}-{number}",
                "user_id": f"u{user}",
                "video_id": f"v{video}",
                "event_type": "view",
                "event_time": time.isoformat(),
                "watch_ms": rng.randrange(9_000, 15_000) if is_favourite else rng.randrange(500, 6_000),
                "context": {"device": ("phone", "tablet")[user % 5 == 0]},
            }
            yield event
            if is_favourite and rng.random() < 0.4:
                yield {
                    "event_id": f"{event['event_id']}-like",
                    "user_id": event["user_id"],
                    "video_id": event["video_id"],
                    "event_type": "like",
                    "event_time": (time + timedelta(seconds=20)).isoformat(),
                }


def write(path: Path, records: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
