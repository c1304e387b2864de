"""Small landing folders for tests, written as a platform would write them."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

DAY = date(2026, 3, 5)


def at(day: date, hour: int, minute: int = 0, second: int = 0) -> str:
    return f"{datetime(day.year, day.month, day.day, hour, minute, second).isoformat()}Z"


def event(number: int, user: str, video: str, kind: str, time: str, **more: Any) -> dict[str, Any]:
    fixed = {"event_id": f"e{number}", "user_id": user, "video_id": video}
    return fixed | {"event_type": kind, "event_time": time} | more


def land(root: Path, kind: str, day: date, lines: list[Any], name: str = "part-0.jsonl") -> Path:
    """Write dictionaries as JSON, strings as they are (for malformed lines)."""
    path = root / kind / f"dt={day}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def small_platform(root: Path, days: int = 4, users: int = 6, videos: int = 8) -> list[date]:
    """`days` days up to DAY on which each user watches some videos; all of it clean."""
    dates = [DAY - timedelta(n) for n in reversed(range(days))]
    land(root, "users", dates[0], [_user(u, dates[0]) for u in range(users)])
    land(root, "videos", dates[0], [_video(v) for v in range(videos)])
    number = 0
    for d, day in enumerate(dates):
        lines = []
        for u in range(users):
            for hour in range(8, 11):
                number += 1
                video = f"v{(u * 3 + d * 2 + hour) % videos}"
                watched = 1000 * (1 + (u + hour + d) % 10)
                lines.append(event(number, f"u{u}", video, "view", at(day, hour, u), watch_ms=watched))
                if watched > 6000:
                    number += 1
                    lines.append(event(number, f"u{u}", video, "like", at(day, hour, u, 30)))
        land(root, "events", day, lines)
    return dates


def _user(number: int, day: date) -> dict[str, Any]:
    band = ["18-24", "25-34"][number % 2]
    profile = {"age_band": band, "city_tier": "1", "device": "phone"}
    return {"user_id": f"u{number}", "registration_time": at(day, 0), **profile}


def _video(number: int) -> dict[str, Any]:
    fixed = {"video_id": f"v{number}", "duration_ms": 10_000}
    return fixed | {"caption": f"caption {number}", "category": f"c{number % 3}"}
