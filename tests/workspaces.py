"""A night's workspace as the steps before the gate leave it: small, seeded, in the formats they agreed on."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.numpy import save_file

from contracts.digests import of_bundle
from contracts.place import Night
from contracts.receipts import Receipt, Rows, write_json, write_receipt
from contracts.tables import BEHAVIOURS
from models.bundle import save_bundle
from models.interest import InterestModel, Spec
from models.ranking import HEADS

DAY = date(2026, 3, 12)
WIDTHS = {"visual": 6, "text": 5, "audio": 4}
MODALITIES = tuple(WIDTHS)
TOPICS = ("cooking", "football", "cats", "travel")
VIDEOS, PEOPLE, HISTORY, K = 40, 60, 8, 10


def sample_night(
    workspace: Path,
    day: date = DAY,
    champion: str | None = "1",
    modalities: Sequence[str] = MODALITIES,
    seed: int = 1,
    incumbent: str | None = None,
) -> Night:
    """All files from snapshot to evaluate, and the receipts; the challenger is clearly better."""
    night, draw = Night(day, workspace), np.random.default_rng(seed)
    _snapshot(night, draw, champion, incumbent, modalities)
    _aligned(night, modalities)
    _bundle(night, modalities, seed)
    _evaluation(night, draw, champion, incumbent, modalities)
    _receipts(night)
    return night


def _snapshot(
    night: Night,
    draw: np.random.Generator,
    champion: str | None,
    incumbent: str | None,
    modalities: Sequence[str],
) -> None:
    out = night.folder("snapshot")
    topics = [TOPICS[i % len(TOPICS)] for i in range(VIDEOS)]
    catalogue = {
        "video_id": [f"v{i:03d}" for i in range(VIDEOS)],
        "author_id": [f"a{i % 7}" for i in range(VIDEOS)],
        "category": topics,
        "caption": [f"{topic} <clip> no. {i}" if i % 9 else None for i, topic in enumerate(topics)],
        "duration_ms": [3000 + 500 * (i % 9) for i in range(VIDEOS)],
        "train_views": [int(200 / (1 + i)) for i in range(VIDEOS)],
    }
    pq.write_table(pa.table(catalogue), out / "catalogue.parquet")
    tensors: dict[str, np.ndarray] = {}
    for m in modalities:
        mask = np.arange(VIDEOS) % 7 != 3
        vectors = draw.normal(size=(VIDEOS, WIDTHS[m])) * mask[:, None]
        tensors |= {m: vectors.astype(np.float32), f"{m}.mask": mask}
    save_file(tensors, out / "features.safetensors")
    pq.write_table(_histories(night.day - timedelta(1), draw), out / "test.parquet")
    views = {
        "user_id": ["u000", "u001"],
        "video_row": [1, 2],
        "completed": [True, None],
        "positive": [True, False],
    }
    pq.write_table(pa.table(views), out / "test_views.parquet")
    users = {"user_id": [f"u{i:03d}" for i in range(PEOPLE)], "age_band": ["18-24", "25-34"] * (PEOPLE // 2)}
    for name in ("users", "users_train"):
        pq.write_table(pa.table(users), out / f"{name}.parquet")
    covered = {m: {"width": WIDTHS[m], "covered": 34, "fingerprint": f"{m}-f1"} for m in modalities}
    manifest = {
        "night": str(night.day),
        "train_until": str(night.day - timedelta(2)),
        "valid_day": str(night.day - timedelta(1)),
        "test_day": str(night.day),
        "missing_days": [],
        "videos": VIDEOS,
        "users": PEOPLE,
        "modalities": covered,
        "video_numbers": {},
        "champion": champion,
        "incumbent": incumbent,
    }
    write_json(out / "manifest.json", manifest)


def _histories(until: date, draw: np.random.Generator) -> pa.Table:
    """Everybody but the last five people has watched something."""
    start = datetime(until.year, until.month, until.day, 9, tzinfo=UTC)
    rows = []
    for person in range(PEOPLE - 5):
        length = int(draw.integers(1, HISTORY + 1))
        rows.append(
            {
                "user_id": f"u{person:03d}",
                "video_rows": draw.choice(VIDEOS, length, replace=False).tolist(),
                "started_at": [start + timedelta(minutes=3 * n) for n in range(length)],
                "watch_ratios": draw.uniform(0, 1, length).tolist(),
                "behaviours": [1] * length,
                "comment_sentiments": [None] * length,
                "utc_offset_minutes": [60] * length,
                "devices": ["phone"] * length,
                "networks": [None] * length,
                "positive": (draw.uniform(size=length) > 0.4).tolist(),
            }
        )
    return pa.Table.from_pylist(rows)


def _aligned(night: Night, modalities: Sequence[str]) -> None:
    found = {"recall@1": 0.25, "recall@10": 0.75}
    pairs = {
        f"{a}-{b}": {
            "videos": 16,
            f"from_{a}": found,
            f"from_{b}": found | {"recall@1": 0.375},
            "chance": {"recall@1": 0.0625, "recall@10": 0.625},
            "alignment": 0.8,
            "uniformity": -2.1,
        }
        for a, b in combinations(modalities, 2)
    }
    told = {"start": "warm: champion, version 1", "epoch": 1, "temperature": 0.069, "videos": 30}
    curve = [{"epoch": 1, "loss": 2.5, "temperature": 0.069, "drift": 0.02}]
    write_json(night.folder("align") / "metrics.json", {**told, "pairs": pairs, "drift": {}, "curve": curve})


def _bundle(night: Night, modalities: Sequence[str], seed: int) -> None:
    spec = Spec(
        model="interest",
        fusion="user",
        encoder="transformer",
        layers=1,
        heads=2,
        dropout=0.0,
        positions=True,
        profile=True,
        max_length=HISTORY,
        width=8,
        modalities={m: WIDTHS[m] for m in modalities},
        fingerprints={m: f"{m}-f1" for m in modalities},
        behaviours=BEHAVIOURS,
        skip_below=0.2,
        positive_watch_ratio=0.5,
        categories={"age_band": ["18-24", "25-34"]},
        numbers={"days_registered": (30.0, 10.0)},
        video_numbers={"train_views": (20.0, 30.0)},
        rerank={"candidates": 10, **dict.fromkeys(HEADS, 0.1), "negative_comments": -0.1},
        contexts={"device": ["phone"]},
        video_ids=[f"v{i:03d}" for i in range(VIDEOS - 5)],
    )
    torch.manual_seed(seed)
    save_bundle(night.folder("train"), InterestModel(spec))
    losses = {"ranking": 0.6, "align": 1.5, "total": 4.0, "gradient_norm": 1.0}
    curve = [
        {
            "epoch": e + 1,
            "retrieval": 3.6 - 0.2 * e + 0.01 * e * e,
            "ndcg@10": 0.1 + 0.02 * e - 0.002 * e * e,
            **losses,
        }
        for e in range(8)
    ]
    write_json(night.folder("train") / "curve.json", curve)


def _evaluation(
    night: Night,
    draw: np.random.Generator,
    champion: str | None,
    incumbent: str | None,
    modalities: Sequence[str],
) -> None:
    out = night.folder("evaluate")
    pinned = [name for name, version in {"champion": champion, "incumbent": incumbent}.items() if version]
    rivals = [*pinned, "popularity", "trending", "itemcf"]
    bundles = {name: f"the {name}'s digest" for name in pinned}
    metrics = {
        "test_day": str(night.day),
        "users": PEOPLE,
        "primary": f"ndcg@{K}",
        "models": {name: _figures(place) for place, name in enumerate(["challenger", *rivals])},
        "differences": {
            name: {f"ndcg@{K}": _difference(0.02 * (1 + place), PEOPLE)} for place, name in enumerate(rivals)
        },
        "slices": {name: _slice(bool(champion), n) for n, name in enumerate(_slice_names(modalities))},
        "alpha": _alpha(modalities),
        "drift": _drift(champion, modalities),
        "changes": _changes(night.day, modalities),
        "bundles": {"challenger": of_bundle(night.workspace / "train"), **bundles},
    }
    write_json(out / "metrics.json", metrics)
    people = [f"u{i:03d}" for i in range(PEOPLE)]
    weights = {
        f"alpha_{m}": draw.dirichlet(np.ones(len(modalities)), PEOPLE)[:, i] for i, m in enumerate(modalities)
    }
    scores = {
        f"ndcg_{name}": draw.beta(1 + 0.2 * (name == "challenger"), 4, PEOPLE)
        for name in ["challenger", *rivals]
    }
    counts = {"history_length": [HISTORY] * (PEOPLE - 5) + [0] * 5, "targets": [2] * PEOPLE}
    days = [night.day - timedelta(days=2) if modalities else None] + [None] * (PEOPLE - 1)
    table = pa.table(
        {"user_id": people, **counts, **scores, **weights, "changed_on": pa.array(days, pa.date32())}
    )
    pq.write_table(table, out / "per_user.parquet")
    pq.write_table(_recommendations(people, modalities, draw), out / "recommendations.parquet")


def _figures(place: int) -> dict[str, Any]:
    ranking = {
        name: value
        for k in (5, K, 20)
        for name, value in {
            f"ndcg@{k}": 0.2 + k / 1000 - 0.03 * place,
            f"recall@{k}": 0.3 - 0.04 * place,
            f"mrr@{k}": 0.2 - 0.03 * place,
            f"coverage@{k}": 0.6 / (1 + place),
            f"gini@{k}": 0.5 + 0.1 * place,
            f"tail_share@{k}": 0.4,
        }.items()
    }
    heads = {
        "auc": 0.71,
        "gauc": 0.68,
        "f1": 0.55,
        "log_loss": 0.6,
        "calibration_error": 0.04,
        "ranking_head": "complete",
    }
    return ranking | (heads if place == 0 else {})


def _slice_names(modalities: Sequence[str]) -> list[str]:
    return [
        "new_users",
        "cold_users",
        "warm_users",
        "new_videos",
        "tail_videos",
        *(f"missing_{m}" for m in modalities),
    ]


def _slice(rival: bool, place: int) -> dict[str, Any]:
    mine = {"users": 12 + 5 * place, "challenger": 0.2 - 0.01 * place}
    if not rival:
        return mine
    return mine | {"champion": 0.18, "difference": _difference(0.02 - 0.01 * place, 12 + 5 * place)}


def _difference(mean: float, users: int) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.015, "high": mean + 0.015, "users": users}


def _alpha(modalities: Sequence[str]) -> dict[str, Any]:
    share = {m: 1 / len(modalities) + 0.1 * (1 - i) for i, m in enumerate(modalities)}
    top = float(np.log(len(modalities))) if modalities else 0.0
    spread = {"count": PEOPLE, "mean": share, **dict.fromkeys(("p10", "p50", "p90"), share)}
    audit = {
        "people": spread,
        "by_category": dict.fromkeys(TOPICS, spread),
        "by_segment": {"age_band=18-24": spread},
    }
    if not modalities:
        audit = {name: {} for name in audit}
    return {"mean": share, "entropy": 0.9 * top, "max_entropy": top, **audit}


def _changes(day: date, modalities: Sequence[str]) -> dict[str, Any]:
    if not modalities:
        return {"people": 0, "changed": 0, "by_day": {}}
    return {
        "people": PEOPLE - 5,
        "changed": 4,
        "by_day": {str(day - timedelta(days=d)): 1 + d for d in (1, 2)},
    }


def _drift(champion: str | None, modalities: Sequence[str]) -> dict[str, Any]:
    moved = {m: {"videos": 30, "mean": 0.02, "p95": 0.05} for m in modalities} if champion else {}
    against = f"champion, version {champion}" if champion else "there is no champion yet"
    return {"against": against, "modalities": moved, "farthest": 0.05 if moved else None}


def _recommendations(people: Sequence[str], modalities: Sequence[str], draw: np.random.Generator) -> pa.Table:
    rows = []
    for person in people:
        for rank, video in enumerate(draw.choice(VIDEOS, K, replace=False)):
            alpha = draw.dirichlet(np.ones(len(modalities))).tolist() if modalities else []
            weights = {f"alpha_{m}": float(a) for m, a in zip(modalities, alpha, strict=True)}
            carried = {
                "carried_by": modalities[0] if modalities else None,
                "history_rows": draw.choice(VIDEOS, 2, replace=False).tolist(),
                "attention": [0.5, 0.25],
            }
            rows.append(
                {
                    "user_id": person,
                    "rank": rank + 1,
                    "video_row": int(video),
                    "score": 5.0 - rank,
                    **weights,
                    **carried,
                }
            )
    return pa.Table.from_pylist(rows)


def _receipts(night: Night) -> None:
    counts = {
        "ingest": Rows(5200, 5150, {"malformed_json": 30, "wrong_type": 20}),
        "clean": Rows(5150, 4700, {"duplicate": 250, "bot": 150, "unknown_video": 50}),
        "embed": Rows(120, 117, {"unreadable_media": 3}),
    }
    facts: dict[str, dict] = {
        "check": {"outcome": "passed", "warnings": []},
        "embed": {"fingerprints": {m: f"{m}-f1" for m in WIDTHS}, "synchrony": None},
    }
    steps = ("ingest", "clean", "embed", "check", "sequences", "snapshot", "align", "train", "evaluate")
    for seconds, name in enumerate(steps, 2):
        stamp = {"night": str(night.day), "commit": "abc123", "started": f"{night.day}T00:00:{seconds:02d}Z",
                 "seconds": float(seconds), "peak_memory_mib": 512}  # fmt: skip
        write_receipt(night.receipts, name, Receipt(rows=counts.get(name), facts=facts.get(name, {})), stamp)
