"""Some people's nights for the report: what they watched, what they get, and what carried it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.place import Night
from contracts.tables import BEHAVIOURS

WATCHED, SHOWN = 8, 5  # newest viewings and best recommendations told of each person


def examples(night: Night, count: int, modalities: Sequence[str]) -> list[dict[str, Any]]:
    """`count` people spread from the shortest history to the longest, always the same ones."""
    people = pq.read_table(night.output("evaluate", "per_user.parquet"))
    chosen = _spread(people, count)
    ids = [person["user_id"] for person in chosen]
    titles = _titles(pq.read_table(night.output("snapshot", "catalogue.parquet")))
    tables = {
        "history": _of(night, "snapshot", "test", ids),
        "views": _of(night, "snapshot", "test_views", ids),
        "profile": _of(night, "snapshot", "users", ids),
        "shown": _of(night, "evaluate", "recommendations", ids),
    }
    return [
        {
            "user_id": person["user_id"],
            "ndcg": person["ndcg_challenger"],
            "watched_before": person["history_length"],
            "changed_on": person["changed_on"],
            "profile": _profile(tables["profile"], person["user_id"]),
            **_watched(tables["history"], person["user_id"], titles),
            **_shown(tables["shown"], tables["views"], person["user_id"], titles, modalities),
        }
        for person in chosen
    ]


def _spread(people: pa.Table, count: int) -> list[dict[str, Any]]:
    ordered = people.sort_by([("history_length", "ascending"), ("user_id", "ascending")])
    places = np.unique(np.linspace(0, len(people) - 1, min(count, len(people))).astype(int))
    return ordered.take(places).to_pylist()


def _of(night: Night, step: str, name: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    table = pq.read_table(night.output(step, f"{name}.parquet"))
    return table.filter(pc.is_in(table["user_id"], pa.array(ids, pa.string()))).to_pylist()


def _titles(catalogue: pa.Table) -> list[dict[str, str]]:
    return [
        {"title": row["caption"] or row["video_id"], "category": row["category"] or ""}
        for row in catalogue.select(["video_id", "caption", "category"]).to_pylist()
    ]


def _profile(users: Sequence[Mapping[str, Any]], user_id: str) -> str:
    mine = next((row for row in users if row["user_id"] == user_id), {})
    told = {name: value for name, value in mine.items() if isinstance(value, str) and name != "user_id"}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items())


def _watched(
    histories: Sequence[Mapping[str, Any]], user_id: str, titles: Sequence[Mapping]
) -> dict[str, Any]:
    """The newest viewings, newest first."""
    mine = next((row for row in histories if row["user_id"] == user_id), None)
    if mine is None:
        return {"watched": []}
    rows = list(zip(mine["video_rows"], mine["watch_ratios"], mine["behaviours"], strict=True))
    return {
        "watched": [
            {**titles[row], "ratio": ratio, "did": _did(bits)}
            for row, ratio, bits in reversed(rows[-WATCHED:])
        ]
    }


def _did(bits: int) -> str:
    """What was done beside watching."""
    return ", ".join(name for i, name in enumerate(BEHAVIOURS) if i and bits >> i & 1)


def _shown(
    recommendations: Sequence[Mapping[str, Any]],
    views: Sequence[Mapping[str, Any]],
    user_id: str,
    titles: Sequence[Mapping],
    modalities: Sequence[str],
) -> dict[str, Any]:
    """The best recommendations, and the past viewings that the model looked at most, with their attention."""
    mine = sorted((row for row in recommendations if row["user_id"] == user_id), key=lambda row: row["rank"])
    liked = {row["video_row"] for row in views if row["user_id"] == user_id and row["positive"]}
    looked_at = (
        list(zip(mine[0]["history_rows"] or (), mine[0]["attention"] or (), strict=True)) if mine else []
    )
    return {
        "shown": [
            {
                **titles[row["video_row"]],
                "shares": {m: row[f"alpha_{m}"] for m in modalities},
                "carried_by": row["carried_by"],
                "hit": row["video_row"] in liked,
            }
            for row in mine[:SHOWN]
        ],
        "because": [{**titles[row], "attention": attention} for row, attention in looked_at],
    }
