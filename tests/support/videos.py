"""Videos in a lake, and what `embed` made of them."""

import json
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from core import config as parameters
from core.paths import PROJECT_ROOT
from core.tables import VIDEOS
from lake.client import Lake

DAY = date(2026, 3, 5)
PARAMS = replace(parameters.load_params(PROJECT_ROOT / "params.yaml").embed, device="cpu", decode_workers=1)


def catalogue(videos: dict[str, dict[str, Any]], day: date = DAY) -> None:
    """Add records of videos to the lake, as ingest does."""
    lines = [
        {"video_id": video, "day": day, "source_file": f"videos/dt={day}/part-0.jsonl", "source_line": line}
        | fields
        for line, (video, fields) in enumerate(videos.items(), 1)
    ]
    Lake().write("videos", pa.Table.from_pylist(lines, VIDEOS.schema))


def features(**equal: Any) -> list[dict[str, Any]]:
    rows = Lake().scan("features").to_pylist()
    return [row for row in rows if all(row[name] == value for name, value in equal.items())]


def feature_keys(**equal: Any) -> set[tuple[str, str, int]]:
    return {(row["video_id"], row["modality"], row["segment"]) for row in features(**equal)}


def rejects() -> list[tuple[str, str, str, str]]:
    rows = Lake().scan("rejects").to_pylist()
    return sorted(
        (r["step"], r["reason"], r["source_file"], json.loads(r["record"])["video_id"]) for r in rows
    )


def versions() -> tuple[int | None, ...]:
    return tuple(Lake().version(name) for name in ("features", "rejects"))


def vector(video: str, modality: str) -> np.ndarray:
    (row,) = features(video_id=video, modality=modality, segment=-1)
    return np.array(row["vector"])
