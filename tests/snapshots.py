"""A small planted snapshot: the files that `tasks.snapshot` writes, with a known truth in them.

Every video has a topic, told by its features (visual and text clearly, audio weakly). A person's age band
gives a first favourite topic; half of the people later drift to another one. Who is shown a video of the
favourite topic watches to the end and often likes it, other videos are left early. Some videos are shown far
more often.
"""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from contracts.place import Night
from contracts.tables import BEHAVIOURS, INSTANT
from tasks.video_numbers import SYNCHRONY_COLUMNS

NIGHT = date(2026, 3, 12)
WIDTHS = {"visual": 12, "text": 10, "audio": 6}
AGES = ("16-24", "25-34", "35+")
LISTS = {
    "video_rows": pa.int32(),
    "started_at": INSTANT,
    "watch_ratios": pa.float64(),
    "behaviours": pa.int32(),
    "comment_sentiments": pa.float64(),
    "utc_offset_minutes": pa.int32(),
    "devices": pa.string(),
    "networks": pa.string(),
    "positive": pa.bool_(),
}


@dataclass(frozen=True)
class Planted:
    """Sizes of the planted world; `shuffled`: every video carries the features of some other one."""

    users: int = 150
    videos: int = 100
    days: int = 8
    per_day: int = 5
    topics: int = 6
    modalities: tuple[str, ...] = ("visual", "text", "audio")
    shuffled: bool = False
    new_videos: int = 10
    missing_audio: int = 5
    seed: int = 0


def plant(workspace: Path, world: Planted | None = None, **changes: object) -> Night:
    """Write `snapshot/` into the workspace and return its night."""
    world = world or Planted(**changes)  # type: ignore[arg-type]
    night = Night(NIGHT, workspace)
    out, draw = night.folder("snapshot"), np.random.default_rng(world.seed)
    topic_V = draw.integers(0, world.topics, world.videos)
    age_U = draw.integers(0, len(AGES), world.users)
    views = _views(world, draw, topic_V, age_U)

    train, valid = NIGHT - timedelta(2), NIGHT - timedelta(1)
    _features(world, draw, topic_V, out)
    _catalogue(world, topic_V, views, train, out)
    _users(world, age_U, out)
    for name, until in (("train", train), ("test", valid)):
        mine = [v for v in views if v["day"] <= until]
        _write(out / f"{name}.parquet", _histories(mine))
        _write(out / f"seen_{name}.parquet", _seen(mine))
    for name, day in (("valid", valid), ("test", NIGHT)):
        _write(out / f"{name}_views.parquet", _day(views, day))
    return night


def _views(world: Planted, draw: np.random.Generator, topic_V: np.ndarray, age_U: np.ndarray) -> list[dict]:
    """Everybody's viewings, by user and time. New videos are shown on the last two days only."""
    shown_V = draw.zipf(1.6, world.videos).clip(max=20).astype(float)
    old = world.videos - world.new_videos
    drifts_U, later_U = draw.random(world.users) < 0.5, draw.integers(0, world.topics, world.users)
    views = []
    for user in range(world.users):
        first = int(draw.integers(0, world.days)) if user % 8 == 0 else 0
        for n in range(first, world.days):
            day = NIGHT - timedelta(world.days - 1 - n)
            favourite = later_U[user] if drifts_U[user] and n >= world.days // 2 else age_U[user] * 2
            weight_V = shown_V * np.where(topic_V == favourite, 3.0, 1.0)
            weight_V[old:] *= n >= world.days - 2
            for i, row in enumerate(
                draw.choice(world.videos, world.per_day, False, weight_V / weight_V.sum())
            ):
                views.append(_view(draw, user, int(row), day, i, topic_V[row] == favourite))
    return views


def _view(draw: np.random.Generator, user: int, row: int, day: date, i: int, wanted: bool) -> dict:
    ratio = float(draw.beta(8, 2) if wanted else draw.beta(1.5, 6)) * 1.15
    liked = bool(draw.random() < (0.3 if wanted else 0.02))
    start = datetime(day.year, day.month, day.day, 8 + 2 * i, int(draw.integers(60)), tzinfo=UTC)
    return {
        "user_id": f"u{user:04d}",
        "video_row": row,
        "day": day,
        "started_at": start,
        "watch_ratio": None if draw.random() < 0.03 else ratio,
        "liked": liked,
        "commented": bool(liked and draw.random() < 0.3),
        "shared": bool(liked and draw.random() < 0.2),
        "followed": False,
        "disliked": False,
        "device": "phone" if row % 2 else "tablet",
        "positive": liked or ratio >= 0.5,
    }


def _features(world: Planted, draw: np.random.Generator, topic_V: np.ndarray, out: Path) -> None:
    told_V = draw.permutation(topic_V) if world.shuffled else topic_V
    tensors, covered = {}, {}
    for name in world.modalities:
        noise = 2.0 if name == "audio" else 0.5
        center_KF = draw.normal(size=(world.topics, WIDTHS[name]))
        x_VF = center_KF[told_V] + noise * draw.normal(size=(world.videos, WIDTHS[name])) + 3.0
        mask_V = np.ones(world.videos, bool)
        if name == "audio":
            mask_V[: world.missing_audio] = False
        x_VF[~mask_V] = 0.0
        tensors |= {name: x_VF.astype(np.float32), f"{name}.mask": mask_V}
        covered[name] = {
            "width": WIDTHS[name],
            "covered": int(mask_V.sum()),
            "fingerprint": f"planted-{name}",
        }
    save_file(tensors, out / "features.safetensors")
    manifest = {
        "night": str(NIGHT),
        "train_until": str(NIGHT - timedelta(2)),
        "valid_day": str(NIGHT - timedelta(1)),
        "test_day": str(NIGHT),
        "missing_days": [],
        "videos": world.videos,
        "users": world.users,
        "modalities": covered,
        "positive_watch_ratio": 0.5,
        "video_numbers": dict.fromkeys(SYNCHRONY_COLUMNS, "planted-synchrony"),
        "champion": None,
        "incumbent": None,
    }
    (out / "manifest.json").write_text(json.dumps(manifest))


def _catalogue(world: Planted, topic_V: np.ndarray, views: list[dict], train: date, out: Path) -> None:
    count_V = np.bincount([v["video_row"] for v in views if v["day"] <= train], minlength=world.videos)
    new_V = np.arange(world.videos) >= world.videos - world.new_videos
    table = {
        "video_id": [f"v{row:04d}" for row in range(world.videos)],
        "author_id": [f"a{row % 7}" for row in range(world.videos)],
        "category": [f"topic{topic}" for topic in topic_V],
        "caption": [f"video about topic {topic}" for topic in topic_V],
        "duration_ms": [10_000 + 100 * row for row in range(world.videos)],
        "upload_day": [train + timedelta(1) if new else train - timedelta(20) for new in new_V],
        "train_views": pa.array(count_V, pa.int32()),
        "comment_sentiment": [None if row % 3 else row / world.videos for row in range(world.videos)],
        "comments": [0 if row % 3 else row for row in range(world.videos)],
        "synchrony": [None if row % 4 == 0 else 0.1 * (row % 7) for row in range(world.videos)],
    }
    _write(out / "catalogue.parquet", pa.table(table))


def _users(world: Planted, age_U: np.ndarray, out: Path) -> None:
    table = {
        "user_id": [f"u{user:04d}" for user in range(world.users)],
        "registration_day": [NIGHT - timedelta(30)] * world.users,
        "days_registered": pa.array([30.0 + user % 5 for user in range(world.users)], pa.float64()),
        "age_band": [None if user % 11 == 0 else AGES[age] for user, age in enumerate(age_U)],
        "city_tier": [f"tier{user % 3}" for user in range(world.users)],
    }
    for name in ("users", "users_train"):
        _write(out / f"{name}.parquet", pa.table(table))


def _histories(views: list[dict]) -> pa.Table:
    people: dict[str, list[dict]] = {}
    for view in views:
        people.setdefault(view["user_id"], []).append(view)
    rows = {
        "video_rows": lambda v: v["video_row"],
        "started_at": lambda v: v["started_at"],
        "watch_ratios": lambda v: v["watch_ratio"],
        "behaviours": lambda v: 1 | sum(v.get(b, False) << i for i, b in enumerate(BEHAVIOURS)),
        "comment_sentiments": lambda v: 0.5 if v["commented"] else None,
        "utc_offset_minutes": lambda v: 60,
        "devices": lambda v: v["device"],
        "networks": lambda v: None,
        "positive": lambda v: v["positive"],
    }
    lists = {
        name: pa.array([[of(v) for v in mine[-50:]] for mine in people.values()], pa.list_(LISTS[name]))
        for name, of in rows.items()
    }
    return pa.table({"user_id": list(people), **lists})


def _seen(views: list[dict]) -> pa.Table:
    people: dict[str, set[int]] = {}
    for view in views:
        people.setdefault(view["user_id"], set()).add(view["video_row"])
    rows = pa.array([sorted(rows) for rows in people.values()], pa.list_(pa.int32()))
    return pa.table({"user_id": pa.array(list(people), pa.string()), "video_rows": rows})


def _day(views: list[dict], day: date) -> pa.Table:
    mine = [v for v in views if v["day"] == day]
    ratios = [v["watch_ratio"] for v in mine]
    columns = {
        "user_id": pa.array([v["user_id"] for v in mine], pa.string()),
        "video_row": pa.array([v["video_row"] for v in mine], pa.int32()),
        "started_at": pa.array([v["started_at"] for v in mine], INSTANT),
        "watch_ratio": pa.array(ratios, pa.float64()),
        "completed": pa.array([None if r is None else r >= 0.95 for r in ratios], pa.bool_()),
        "device": pa.array(["phone"] * len(mine), pa.string()),
        "network": pa.array([None] * len(mine), pa.string()),
        "utc_offset_minutes": pa.array([60] * len(mine), pa.int32()),
    }
    for name in ("liked", "commented", "shared", "followed", "disliked", "positive"):
        columns[name] = pa.array([v[name] for v in mine], pa.bool_())
    return pa.table(columns)


def _write(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)
