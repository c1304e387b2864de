"""Example users for the report: interactions, recommendations, modality weights and explanations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.paths import Night
from core.tables import BEHAVIOURS
from reporting.explanations import VideoTitles, explained_user_ids, user_explanations

MAX_WATCHED, MAX_RECOMMENDED = 8, 5  # shown per user: newest interactions, best recommendations


def example_users(
    night: Night, count: int, modalities: Sequence[str], attention_is_faithful: bool
) -> list[dict[str, Any]]:
    """Select users evenly from the shortest sequence to the longest. The choice is deterministic.

    Args:
        night: The night, after `evaluate`.
        count: How many users, at most as many as `evaluate` explained.
        modalities: The modalities of the data.
        attention_is_faithful: Whether attention is shown.

    Raises:
        InputError: A file of the snapshot or the evaluation is missing.
    """
    users = pq.read_table(night.require_output("evaluate", "per_user.parquet"))
    is_explained = pc.is_in(users["user_id"], explained_user_ids(night).combine_chunks())
    sampled = _sample_by_length(users.filter(is_explained), count)
    ids = [user["user_id"] for user in sampled]
    titles = VideoTitles(night)
    tables = {
        "sequences": _rows_of_users(night, "snapshot", "sequences_test", ids),
        "interactions": _rows_of_users(night, "snapshot", "interactions_test", ids),
        "profiles": _rows_of_users(night, "snapshot", "users_test", ids),
        "recommendations": _rows_of_users(night, "evaluate", "recommendations", ids),
    }
    explanations = user_explanations(night, ids, titles, attention_is_faithful)
    return [
        {
            "user_id": user["user_id"],
            **explanations[user["user_id"]],
            "ndcg": user["ndcg_challenger"],
            "sequence_length": user["sequence_length"],
            "profile": _profile_text(tables["profiles"], user["user_id"]),
            **_latest_interactions(tables["sequences"], user["user_id"], titles),
            **_recommended(
                tables["recommendations"], tables["interactions"], user["user_id"], titles, modalities
            ),
        }
        for user in sampled
    ]


def _sample_by_length(users: pa.Table, count: int) -> list[dict[str, Any]]:
    ordered = users.sort_by([("sequence_length", "ascending"), ("user_id", "ascending")])
    positions = np.unique(np.linspace(0, len(users) - 1, min(count, len(users))).astype(int))
    return ordered.take(positions).to_pylist()


def _rows_of_users(night: Night, step: str, name: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    is_shown = pc.is_in(pc.field("user_id"), pa.array(ids, pa.string()))
    return pq.read_table(night.require_output(step, f"{name}.parquet"), filters=is_shown).to_pylist()


def _profile_text(users: Sequence[Mapping[str, Any]], user_id: str) -> str:
    profile = next((row for row in users if row["user_id"] == user_id), {})
    segments = {
        name: value for name, value in profile.items() if isinstance(value, str) and name != "user_id"
    }
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in segments.items())


def _latest_interactions(
    sequences: Sequence[Mapping[str, Any]], user_id: str, titles: VideoTitles
) -> dict[str, Any]:
    """Return the newest interactions, newest first."""
    sequence = next((row for row in sequences if row["user_id"] == user_id), None)
    if sequence is None:
        return {"latest_interactions": []}
    rows = list(zip(sequence["video_rows"], sequence["watch_ratios"], sequence["behaviours"], strict=True))
    return {
        "latest_interactions": [
            {**titles[row], "watch_ratio": ratio, "behaviours": _behaviour_names(bits)}
            for row, ratio, bits in reversed(rows[-MAX_WATCHED:])
        ]
    }


def _behaviour_names(bits: int) -> str:
    """Return the behaviours other than `view`, from their bits."""
    return ", ".join(name for i, name in enumerate(BEHAVIOURS) if i and bits >> i & 1)


def _recommended(
    recommendations: Sequence[Mapping[str, Any]],
    interactions: Sequence[Mapping[str, Any]],
    user_id: str,
    titles: VideoTitles,
    modalities: Sequence[str],
) -> dict[str, Any]:
    """Return the best recommendations. Those of a baseline of IDs have no modality weights."""
    user_rows = sorted(
        (row for row in recommendations if row["user_id"] == user_id), key=lambda row: row["rank"]
    )
    positives = {row["video_row"] for row in interactions if row["user_id"] == user_id and row["positive"]}
    return {
        "recommended": [
            {
                **titles[row["video_row"]],
                "modality_weights": {m: row[f"alpha_{m}"] for m in modalities if f"alpha_{m}" in row},
                "top_modality": row["top_modality"],
                "is_hit": row["video_row"] in positives,
            }
            for row in user_rows[:MAX_RECOMMENDED]
        ],
    }
