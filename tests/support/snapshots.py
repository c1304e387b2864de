"""A small planted snapshot: the files that `tasks.snapshot` writes, with known ground truth.

Every video has a topic, encoded in its features (visual and text clearly, audio weakly). A user's age band
gives a first favourite topic; half of the users later drift to another one. A user who is shown a video of
the favourite topic watches to the end and often likes it, other videos are left early. Some videos are shown
far more often.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from core.paths import Night
from core.run_manifests import RunManifest, write_json, write_manifest
from core.step_graph import STEPS
from core.tables import BEHAVIOURS, TIMESTAMP
from core.time_split import TimeSplit

NIGHT = date(2026, 3, 12)
SPLIT = TimeSplit((NIGHT - timedelta(2), NIGHT - timedelta(1)), NIGHT)
LAKE_HALF = list(STEPS)[: list(STEPS).index("align")]
WIDTHS = {"visual": 12, "text": 10, "audio": 6}
AGES = ("16-24", "25-34", "35+")
LISTS = {
    "video_rows": pa.int32(),
    "started_at": TIMESTAMP,
    "watch_ratios": pa.float64(),
    "behaviours": pa.int32(),
    "comment_sentiments": pa.float64(),
    "utc_offset_minutes": pa.int32(),
    "devices": pa.string(),
    "networks": pa.string(),
    "positive": pa.bool_(),
}


@dataclass(frozen=True)
class PlantedConfig:
    """Sizes of the planted snapshot; `shuffled`: every video carries the features of some other one."""

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


def plant(workspace: Path, config: PlantedConfig | None = None, **changes: object) -> Night:
    """Write `snapshot/` into the workspace and return its night."""
    config = config or PlantedConfig(**changes)  # type: ignore[arg-type]
    night = Night(NIGHT, workspace)
    out, draw = night.folder("snapshot"), np.random.default_rng(config.seed)
    topic_V = draw.integers(0, config.topics, config.videos)
    age_U = draw.integers(0, len(AGES), config.users)
    interactions = _interactions(config, draw, topic_V, age_U)

    _features(config, draw, topic_V, out)
    _catalogue(config, topic_V, out)
    _users(config, age_U, out)
    for fold, day in SPLIT.folds.items():
        past = [v for v in interactions if v["day"] < day]
        _write(out / f"sequences_{fold}.parquet", _sequences(past))
        _write(out / f"item_statistics_{fold}.parquet", _item_statistics(config, past))
        _write(out / f"interactions_{fold}.parquet", _day(interactions, day))
    _write(out / "seen_items.parquet", _seen_items([v for v in interactions if v["day"] < NIGHT]))
    return night


def write_lake_half_manifests(night: Night) -> None:
    """Write the run manifests of the steps before the model half, with passed data checks."""
    info = {"night": str(night.day), "commit": "abc", "started_at": "", "seconds": 1.0, "peak_memory_mib": 1}
    for step in LAKE_HALF:
        facts = {"outcome": "passed"} if step == "check" else {}
        write_manifest(night.run_manifests, step, RunManifest(facts=facts), info)
    write_json(night.folder("check") / "results.json", {"outcome": "passed", "expectations": []})


def read_table(night: Night, name: str) -> pa.Table:
    """Read a Parquet file of the snapshot."""
    return pq.read_table(night.require_output("snapshot", f"{name}.parquet"))


def replace_columns(night: Night, name: str, **columns: pa.Array) -> None:
    """Replace columns of a Parquet file of the snapshot, or append them."""
    table = read_table(night, name)
    for column, values in columns.items():
        if column in table.schema.names:
            table = table.drop_columns(column)
        table = table.append_column(column, values)
    _write(night.require_output("snapshot", f"{name}.parquet"), table)


def append_positives(night: Night, fold: str, video: int, user_ids: Collection[str]) -> None:
    """Let these users like a video at the end of the last day that a fold knows."""
    day = SPLIT.known_until[fold]
    table = read_table(night, f"sequences_{fold}")
    event = {
        "video_rows": video,
        "started_at": datetime(day.year, day.month, day.day, 23, tzinfo=UTC),
        "watch_ratios": 1.0,
        "behaviours": 1 | 1 << BEHAVIOURS.index("liked"),
        "comment_sentiments": None,
        "utc_offset_minutes": 60,
        "devices": "phone",
        "networks": None,
        "positive": True,
    }
    is_changed = [user_id in user_ids for user_id in table["user_id"].to_pylist()]
    lists = {
        name: pa.array(
            [
                [*values, value] if changed else values
                for values, changed in zip(table[name].to_pylist(), is_changed, strict=True)
            ],
            pa.list_(LISTS[name]),
        )
        for name, value in event.items()
    }
    replace_columns(night, f"sequences_{fold}", **lists)


def _interactions(
    config: PlantedConfig, draw: np.random.Generator, topic_V: np.ndarray, age_U: np.ndarray
) -> list[dict]:
    """The interactions of all users, by user and time. A new video is shown from its upload day on."""
    shown_V = draw.zipf(1.6, config.videos).clip(max=20).astype(float)
    drifts_U, later_U = draw.random(config.users) < 0.5, draw.integers(0, config.topics, config.users)
    interactions = []
    for user in range(config.users):
        first = int(draw.integers(0, config.days)) if user % 8 == 0 else 0
        for n in range(first, config.days):
            day = NIGHT - timedelta(config.days - 1 - n)
            favourite = later_U[user] if drifts_U[user] and n >= config.days // 2 else age_U[user] * 2
            weight_V = shown_V * np.where(topic_V == favourite, 3.0, 1.0)
            weight_V *= [uploaded <= day for uploaded in _upload_days(config)]
            for i, row in enumerate(
                draw.choice(config.videos, config.per_day, False, weight_V / weight_V.sum())
            ):
                interactions.append(_interaction(draw, user, int(row), day, i, topic_V[row] == favourite))
    return interactions


def _upload_days(config: PlantedConfig) -> list[date]:
    """Half of the new videos are uploaded on the first validation day, the other half on the test day."""
    newest = config.new_videos // 2
    old, new = config.videos - config.new_videos, config.new_videos - newest
    return [SPLIT.train_end - timedelta(20)] * old + [SPLIT.validation_days[0]] * new + [NIGHT] * newest


def _interaction(
    draw: np.random.Generator, user: int, row: int, day: date, i: int, is_favourite: bool
) -> dict:
    ratio: float | None = float(draw.beta(8, 2) if is_favourite else draw.beta(1.5, 6)) * 1.15
    liked = bool(draw.random() < (0.3 if is_favourite else 0.02))
    start = datetime(day.year, day.month, day.day, 8 + 2 * i, int(draw.integers(60)), tzinfo=UTC)
    if draw.random() < 0.03:
        ratio = None
    return {
        "user_id": f"u{user:04d}",
        "video_row": row,
        "day": day,
        "started_at": start,
        "watch_ratio": ratio,
        "liked": liked,
        "commented": bool(liked and draw.random() < 0.3),
        "shared": bool(liked and draw.random() < 0.2),
        "followed": False,
        "disliked": False,
        "device": "phone" if row % 2 else "tablet",
        "positive": liked or ratio is None or ratio >= 0.5,
    }


def _features(config: PlantedConfig, draw: np.random.Generator, topic_V: np.ndarray, out: Path) -> None:
    topic_of_content_V = draw.permutation(topic_V) if config.shuffled else topic_V
    tensors: dict[str, np.ndarray] = {}
    coverage = {}
    for name in config.modalities:
        noise = 2.0 if name == "audio" else 0.5
        center_KF = draw.normal(size=(config.topics, WIDTHS[name]))
        x_VF = center_KF[topic_of_content_V] + noise * draw.normal(size=(config.videos, WIDTHS[name])) + 3.0
        mask_V = np.ones(config.videos, bool)
        if name == "audio":
            mask_V[: config.missing_audio] = False
        x_VF[~mask_V] = 0.0
        tensors |= {name: x_VF.astype(np.float32), f"{name}.mask": mask_V}
        coverage[name] = {
            "width": WIDTHS[name],
            "covered": int(mask_V.sum()),
            "fingerprint": f"planted-{name}",
        }
    save_file(tensors, out / "features.safetensors")
    manifest = {
        "night": str(NIGHT),
        "folds": SPLIT.to_json(),
        "test_day": str(NIGHT),
        "missing_days": [],
        "num_videos": config.videos,
        "num_users": config.users,
        "modalities": coverage,
        "positive_watch_ratio": 0.5,
        "champion": None,
        "incumbent": None,
    }
    (out / "manifest.json").write_text(json.dumps(manifest))


def _item_statistics(config: PlantedConfig, past: list[dict]) -> pa.Table:
    count_V = np.bincount([v["video_row"] for v in past], minlength=config.videos)
    return pa.table(
        {
            "num_interactions": pa.array(count_V, pa.int32()),
            "comment_sentiment": [None if row % 3 else row / config.videos for row in range(config.videos)],
            "comments": [0 if row % 3 else row for row in range(config.videos)],
        }
    )


def _catalogue(config: PlantedConfig, topic_V: np.ndarray, out: Path) -> None:
    table = {
        "video_id": [f"v{row:04d}" for row in range(config.videos)],
        "author_id": [f"a{row % 7}" for row in range(config.videos)],
        "category": [f"topic{topic}" for topic in topic_V],
        "caption": [f"video about topic {topic}" for topic in topic_V],
        "duration_ms": [10_000 + 100 * row for row in range(config.videos)],
        "upload_day": _upload_days(config),
    }
    _write(out / "catalogue.parquet", pa.table(table))


def _users(config: PlantedConfig, age_U: np.ndarray, out: Path) -> None:
    table = {
        "user_id": [f"u{user:04d}" for user in range(config.users)],
        "registration_day": [NIGHT - timedelta(30)] * config.users,
        "days_registered": pa.array([30.0 + user % 5 for user in range(config.users)], pa.float64()),
        "age_band": [None if user % 11 == 0 else AGES[age] for user, age in enumerate(age_U)],
        "city_tier": [f"tier{user % 3}" for user in range(config.users)],
    }
    for fold in SPLIT.folds:
        _write(out / f"users_{fold}.parquet", pa.table(table))


def _sequences(interactions: list[dict]) -> pa.Table:
    by_user: dict[str, list[dict]] = {}
    for interaction in interactions:
        by_user.setdefault(interaction["user_id"], []).append(interaction)
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
        name: pa.array(
            [[of(v) for v in rows_of_user[-50:]] for rows_of_user in by_user.values()], pa.list_(LISTS[name])
        )
        for name, of in rows.items()
    }
    return pa.table({"user_id": list(by_user), **lists})


def _seen_items(interactions: list[dict]) -> pa.Table:
    """The first day of each pair; `interactions` are in order of time."""
    by_user: dict[str, dict[int, date]] = {}
    for interaction in interactions:
        by_user.setdefault(interaction["user_id"], {}).setdefault(
            interaction["video_row"], interaction["day"]
        )
    pairs = [sorted(first_days.items()) for first_days in by_user.values()]
    return pa.table(
        {
            "user_id": pa.array(list(by_user), pa.string()),
            "video_rows": pa.array([[row for row, _ in user] for user in pairs], pa.list_(pa.int32())),
            "first_days": pa.array([[day for _, day in user] for user in pairs], pa.list_(pa.date32())),
        }
    )


def _day(interactions: list[dict], day: date) -> pa.Table:
    rows = [v for v in interactions if v["day"] == day]
    ratios = [v["watch_ratio"] for v in rows]
    columns = {
        "user_id": pa.array([v["user_id"] for v in rows], pa.string()),
        "video_row": pa.array([v["video_row"] for v in rows], pa.int32()),
        "started_at": pa.array([v["started_at"] for v in rows], TIMESTAMP),
        "watch_ratio": pa.array(ratios, pa.float64()),
        "completed": pa.array([None if r is None else r >= 0.95 for r in ratios], pa.bool_()),
        "device": pa.array(["phone"] * len(rows), pa.string()),
        "network": pa.array([None] * len(rows), pa.string()),
        "utc_offset_minutes": pa.array([60] * len(rows), pa.int32()),
    }
    for name in ("liked", "commented", "shared", "followed", "disliked", "positive"):
        columns[name] = pa.array([v[name] for v in rows], pa.bool_())
    return pa.table(columns)


def _write(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)
