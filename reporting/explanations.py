"""Explanations of the example users: trends, interest shift, and the events that attention reads most."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.paths import EXPLANATIONS, Night


class VideoTitles:
    """Title and category of the videos of the catalogue. Only those that are asked for become Python objects.

    Args:
        night: The night, after `snapshot`.

    Raises:
        InputError: The catalogue is missing.
    """

    def __init__(self, night: Night) -> None:
        path = night.require_output("snapshot", "catalogue.parquet")
        self._videos = pq.read_table(path, columns=["video_id", "caption", "category"])

    def __getitem__(self, row: int) -> dict[str, str]:
        """Return `title` and `category` of the video of a row."""
        video = self._videos.slice(row, 1).to_pylist()[0]
        return {"title": video["caption"] or video["video_id"], "category": video["category"] or ""}


def explained_user_ids(night: Night) -> pa.ChunkedArray:
    """Return the users that `evaluate` explained.

    Raises:
        InputError: The table is missing.
    """
    return pq.read_table(_path(night, "users"), columns=["user_id"])["user_id"]


def user_explanations(
    night: Night, ids: Sequence[str], titles: VideoTitles, attention_is_faithful: bool
) -> dict[str, dict[str, Any]]:
    """Return the explanations of these users.

    Args:
        night: The night, after `evaluate`.
        ids: The users, who are among `explained_user_ids`.
        titles: Of the videos of the catalogue.
        attention_is_faithful: Whether attention is shown.

    Returns:
        User -> `trends`, `shift` (None for a short sequence), and `attended`.

    Raises:
        InputError: The table is missing.
    """
    trends = _trends_by_user(night, ids, titles)
    return {
        row["user_id"]: {
            "trends": trends.get(row["user_id"], []),
            "shift": _shift(row, titles),
            "attended": _attended(row, titles) if attention_is_faithful else [],
        }
        for row in _rows_of(_path(night, "users"), ids)
    }


def item_map_points(night: Night) -> pa.Table:
    """Return the points of the map of the videos: `video_row`, `category`, `x`, `y`.

    Raises:
        InputError: The table is missing.
    """
    return pq.read_table(_path(night, "item_map"))


def _path(night: Night, name: str) -> str:
    return str(night.require_output("evaluate", f"{EXPLANATIONS}/{name}.parquet"))


def _rows_of(path: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    return pq.read_table(path, filters=pc.is_in(pc.field("user_id"), pa.array(ids, pa.string()))).to_pylist()


def _trends_by_user(night: Night, ids: Sequence[str], titles: VideoTitles) -> dict[str, list[dict[str, Any]]]:
    """Return user -> trends, the one with most recommendations first. Empty for a model without trends."""
    if not (night.workspace / "evaluate" / EXPLANATIONS / "trends.parquet").is_file():
        return {}
    by_user: dict[str, list[dict[str, Any]]] = {}
    rows = _rows_of(_path(night, "trends"), ids)
    for row in sorted(rows, key=lambda row: (row["user_id"], -row["recommended_share"], row["trend"])):
        videos = [titles[video]["title"] for video in row["nearest"]]
        by_user.setdefault(row["user_id"], []).append({**row, "videos": videos})
    return by_user


def _shift(row: Mapping[str, Any], titles: VideoTitles) -> dict[str, dict[str, Any]] | None:
    """Return the categories and the nearest videos of the older and the newer half of the events."""
    if not row["older_categories"]:
        return None
    return {
        half: {
            "categories": list(zip(row[f"{half}_categories"], row[f"{half}_shares"], strict=True)),
            "videos": [titles[video] for video in row[f"{half}_nearest"]],
        }
        for half in ("older", "newer")
    }


def _attended(row: Mapping[str, Any], titles: VideoTitles) -> list[dict[str, Any]]:
    pairs = zip(row["attended_rows"], row["attended_weights"], strict=True)
    return [{**titles[video], "weight": weight} for video, weight in pairs]
