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

from core.baselines import BASELINE_LABELS
from core.hashing import hash_bundle
from core.paths import Night
from core.run_manifests import RowCounts, RunManifest, write_json, write_manifest
from core.tables import BEHAVIOURS
from evaluation.experiment_files import write_experiment_files
from models.bundle import save_bundle
from models.config import ModelConfig
from models.data.targets import BEHAVIOUR_HEADS
from models.interest_model import InterestModel

DAY = date(2026, 3, 12)
WIDTHS = {"visual": 6, "text": 5, "audio": 4}
MODALITIES = tuple(WIDTHS)
TOPICS = ("cooking", "football", "cats", "travel")
NUM_VIDEOS, NUM_USERS, MAX_LENGTH, K = 40, 60, 8, 10


def sample_night(
    workspace: Path,
    day: date = DAY,
    champion: str | None = "1",
    modalities: Sequence[str] = MODALITIES,
    seed: int = 1,
    incumbent: str | None = None,
) -> Night:
    """All files from snapshot to evaluate, and the run manifests; the challenger is clearly better."""
    night, draw = Night(day, workspace), np.random.default_rng(seed)
    _write_snapshot(night, draw, champion, incumbent, modalities)
    _write_alignment(night, modalities)
    _write_bundle(night, modalities, seed)
    _write_evaluation(night, draw, champion, incumbent, modalities)
    _write_run_manifests(night)
    return night


def _write_snapshot(
    night: Night,
    draw: np.random.Generator,
    champion: str | None,
    incumbent: str | None,
    modalities: Sequence[str],
) -> None:
    out = night.folder("snapshot")
    topics = [TOPICS[i % len(TOPICS)] for i in range(NUM_VIDEOS)]
    catalogue = {
        "video_id": [f"v{i:03d}" for i in range(NUM_VIDEOS)],
        "author_id": [f"a{i % 7}" for i in range(NUM_VIDEOS)],
        "category": topics,
        "caption": [f"{topic} <clip> no. {i}" if i % 9 else None for i, topic in enumerate(topics)],
        "duration_ms": [3000 + 500 * (i % 9) for i in range(NUM_VIDEOS)],
        "upload_day": [night.day - timedelta(20)] * NUM_VIDEOS,
    }
    pq.write_table(pa.table(catalogue), out / "catalogue.parquet")
    statistics = pa.table({"num_interactions": [int(200 / (1 + i)) for i in range(NUM_VIDEOS)]})
    tensors: dict[str, np.ndarray] = {}
    for m in modalities:
        mask = np.arange(NUM_VIDEOS) % 7 != 3
        vectors = draw.normal(size=(NUM_VIDEOS, WIDTHS[m])) * mask[:, None]
        tensors |= {m: vectors.astype(np.float32), f"{m}.mask": mask}
    save_file(tensors, out / "features.safetensors")
    pq.write_table(_sequences(night.day - timedelta(1), draw), out / "sequences_test.parquet")
    interactions = {
        "user_id": ["u000", "u001"],
        "video_row": [1, 2],
        "completed": [True, None],
        "positive": [True, False],
    }
    pq.write_table(pa.table(interactions), out / "interactions_test.parquet")
    users = {
        "user_id": [f"u{i:03d}" for i in range(NUM_USERS)],
        "age_band": ["18-24", "25-34"] * (NUM_USERS // 2),
    }
    for fold in ("valid_1", "test"):
        pq.write_table(pa.table(users), out / f"users_{fold}.parquet")
        pq.write_table(statistics, out / f"item_statistics_{fold}.parquet")
    coverage = {m: {"width": WIDTHS[m], "covered": 34, "fingerprint": f"{m}-f1"} for m in modalities}
    manifest = {
        "night": str(night.day),
        "folds": {"valid_1": str(night.day - timedelta(1)), "test": str(night.day)},
        "test_day": str(night.day),
        "missing_days": [],
        "num_videos": NUM_VIDEOS,
        "num_users": NUM_USERS,
        "modalities": coverage,
        "champion": champion,
        "incumbent": incumbent,
    }
    write_json(out / "manifest.json", manifest)


def _sequences(until: date, draw: np.random.Generator) -> pa.Table:
    """All users but the last five have a sequence."""
    start = datetime(until.year, until.month, until.day, 9, tzinfo=UTC)
    rows = []
    for user in range(NUM_USERS - 5):
        length = int(draw.integers(1, MAX_LENGTH + 1))
        rows.append(
            {
                "user_id": f"u{user:03d}",
                "video_rows": draw.choice(NUM_VIDEOS, length, replace=False).tolist(),
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


def _write_alignment(night: Night, modalities: Sequence[str]) -> None:
    recall = {"recall@1": 0.25, "recall@10": 0.75}
    modality_pairs = {
        f"{a}-{b}": {
            "num_videos": 16,
            f"from_{a}": recall,
            f"from_{b}": recall | {"recall@1": 0.375},
            "chance": {"recall@1": 0.0625, "recall@10": 0.625},
            "alignment": 0.8,
            "uniformity": -2.1,
        }
        for a, b in combinations(modalities, 2)
    }
    metrics = {
        "initialised_from": "warm: champion, version 1",
        "best_epoch": 1,
        "temperature": 0.069,
        "num_train_videos": 30,
        "modality_pairs": modality_pairs,
        "embedding_drift": {},
        "curve": [{"epoch": 1, "total": 2.5, "temperature": 0.069, "max_p95_drift": 0.02}],
    }
    write_json(night.folder("align") / "metrics.json", metrics)


def _write_bundle(night: Night, modalities: Sequence[str], seed: int) -> None:
    config = ModelConfig(
        model="interest",
        fusion="user",
        encoder="transformer",
        layers=1,
        heads=2,
        dropout=0.0,
        positions=True,
        profile=True,
        max_length=MAX_LENGTH,
        width=8,
        modalities={m: WIDTHS[m] for m in modalities},
        encoder_fingerprints={m: f"{m}-f1" for m in modalities},
        behaviours=BEHAVIOURS,
        skip_watch_ratio=0.2,
        positive_watch_ratio=0.5,
        user_categorical_features={"age_band": ["18-24", "25-34"]},
        user_numerical_features={"days_registered": (30.0, 10.0)},
        item_features={"num_interactions": (20.0, 30.0)},
        rerank={"candidates": 10, **dict.fromkeys(BEHAVIOUR_HEADS, 0.1), "negative_comments": -0.1},
        contexts={"device": ["phone"]},
        video_ids=[f"v{i:03d}" for i in range(NUM_VIDEOS - 5)],
    )
    torch.manual_seed(seed)
    save_bundle(night.folder("train"), InterestModel(config))
    losses = {"ranking": 0.6, "alignment": 1.5, "total": 4.0, "gradient_norm": 1.0}
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


def _write_evaluation(
    night: Night,
    draw: np.random.Generator,
    champion: str | None,
    incumbent: str | None,
    modalities: Sequence[str],
) -> None:
    out = night.folder("evaluate")
    compared = [name for name, version in {"champion": champion, "incumbent": incumbent}.items() if version]
    references = [*compared, *BASELINE_LABELS]
    bundle_digests = {name: f"the {name}'s digest" for name in compared}
    metrics = {
        "test_day": str(night.day),
        "num_users": NUM_USERS,
        "primary_metric": f"ndcg@{K}",
        "models": {name: _model_metrics(order) for order, name in enumerate(["challenger", *references])},
        "differences": {
            name: {f"ndcg@{K}": _difference(0.02 * (1 + order), NUM_USERS)}
            for order, name in enumerate(references)
        },
        "ranking_heads": {"challenger": {"complete": {"calibration_curve": []}}},
        "slices": {name: _slice(bool(champion), n) for n, name in enumerate(_slice_names(modalities))},
        "modality_weights": _modality_weights(modalities),
        "embedding_drift": _embedding_drift(champion, modalities),
        "attention": _attention(),
        "item_map": {
            "num_videos": NUM_VIDEOS,
            "explained_variance": 0.42,
            "same_category": 0.81,
            "same_category_by_chance": 0.23,
        },
        "bundle_digests": {"challenger": hash_bundle(night.workspace / "train"), **bundle_digests},
    }
    write_json(out / "details.json", metrics)
    write_experiment_files(out, metrics)
    user_ids = [f"u{i:03d}" for i in range(NUM_USERS)]
    weights = {
        f"alpha_{m}": draw.dirichlet(np.ones(len(modalities)), NUM_USERS)[:, i]
        for i, m in enumerate(modalities)
    }
    scores = {
        f"ndcg_{name}": draw.beta(1 + 0.2 * (name == "challenger"), 4, NUM_USERS)
        for name in ["challenger", *references]
    }
    counts = {
        "sequence_length": [MAX_LENGTH] * (NUM_USERS - 5) + [0] * 5,
        "num_positives": [2] * NUM_USERS,
    }
    table = pa.table(
        {
            "user_id": user_ids,
            **counts,
            **scores,
            **weights,
        }
    )
    pq.write_table(table, out / "per_user.parquet")
    pq.write_table(_recommendations(user_ids, modalities, draw), out / "recommendations.parquet")
    _write_explanations(out / "explanations", user_ids, draw)


def _model_metrics(order: int) -> dict[str, Any]:
    ranking = {
        name: value
        for k in (5, K, 20)
        for name, value in {
            f"ndcg@{k}": 0.2 + k / 1000 - 0.02 * order,
            f"recall@{k}": 0.3 - 0.03 * order,
            f"mrr@{k}": 0.2 - 0.02 * order,
            f"coverage@{k}": 0.6 / (1 + order),
            f"gini@{k}": 0.5 + 0.05 * order,
            f"tail_share@{k}": 0.4,
            f"new_share@{k}": 0.1,
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
    return ranking | (heads if order == 0 else {})


def _slice_names(modalities: Sequence[str]) -> list[str]:
    return [
        "new_users",
        "cold_users",
        "warm_users",
        "new_videos",
        "tail_videos",
        *(f"missing_{m}" for m in modalities),
    ]


def _slice(has_champion: bool, order: int) -> dict[str, Any]:
    metrics = {"num_users": 12 + 5 * order, "challenger": 0.2 - 0.01 * order}
    if not has_champion:
        return metrics
    return metrics | {"champion": 0.18, "difference": _difference(0.02 - 0.01 * order, 12 + 5 * order)}


def _difference(mean: float, num_users: int) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.015, "high": mean + 0.015, "num_users": num_users}


def _modality_weights(modalities: Sequence[str]) -> dict[str, Any]:
    mean = {m: 1 / len(modalities) + 0.1 * (1 - i) for i, m in enumerate(modalities)}
    top = float(np.log(len(modalities))) if modalities else 0.0
    distribution = {"count": NUM_USERS, "mean": mean, **dict.fromkeys(("p10", "p50", "p90"), mean)}
    audit = {
        "users": distribution,
        "by_category": dict.fromkeys(TOPICS, distribution),
        "by_user_segment": {"age_band=18-24": distribution},
    }
    if not modalities:
        audit = {name: {} for name in audit}
    has_gain = len(modalities) > 1
    gain = {"gain": _difference(0.02, NUM_USERS) if has_gain else None, "is_informative": has_gain}
    return {"is_learned": True, "mean": mean, "entropy": 0.9 * top, "max_entropy": top, **audit, **gain}


def _embedding_drift(champion: str | None, modalities: Sequence[str]) -> dict[str, Any]:
    by_modality = {m: {"num_videos": 30, "mean": 0.02, "p95": 0.05} for m in modalities} if champion else {}
    compared_with = f"champion, version {champion}" if champion else "there is no champion yet"
    return {
        "compared_with": compared_with,
        "modalities": by_modality,
        "max_p95_drift": 0.05 if by_modality else None,
    }


def _recommendations(
    user_ids: Sequence[str], modalities: Sequence[str], draw: np.random.Generator
) -> pa.Table:
    rows = []
    for user_id in user_ids:
        for rank, video in enumerate(draw.choice(NUM_VIDEOS, K, replace=False)):
            alpha = draw.dirichlet(np.ones(len(modalities))).tolist() if modalities else []
            weights = {f"alpha_{m}": float(a) for m, a in zip(modalities, alpha, strict=True)}
            rows.append(
                {
                    "user_id": user_id,
                    "rank": rank + 1,
                    "video_row": int(video),
                    "score": 5.0 - rank,
                    **weights,
                    "top_modality": modalities[0] if modalities else None,
                }
            )
    return pa.Table.from_pylist(rows)


def _attention() -> dict[str, Any]:
    """Attention that is faithful."""
    drop = {"most_attended": 0.5, "newest": 0.45, "random": 0.2, "least_attended": 0.05}
    difference = {way: _difference(0.5 - x, NUM_USERS) for way, x in drop.items() if way != "most_attended"}
    summary = {"model": "transformer", "has_attention": True, "deleted_share": 0.2, "num_users": NUM_USERS}
    return summary | {"drop": drop, "difference": difference, "is_faithful": True}


def _write_explanations(folder: Path, user_ids: Sequence[str], draw: np.random.Generator) -> None:
    """Every user has the same explanation; the map has all videos."""
    half = {"categories": ["cats", "travel"], "shares": [0.75, 0.25], "nearest": [2, 6]}
    row = {f"{name}_{key}": value for name in ("older", "newer") for key, value in half.items()}
    row |= {"newer_categories": ["travel"], "newer_shares": [1.0], "newer_nearest": [3]}
    row |= {"attended_rows": [4, 5], "attended_weights": [0.31, 0.12]}
    folder.mkdir(exist_ok=True)
    pq.write_table(
        pa.Table.from_pylist([{"user_id": user} | row for user in user_ids]), folder / "users.parquet"
    )
    xy_V2 = draw.normal(size=(NUM_VIDEOS, 2)).astype(np.float32)
    item_map = {
        "video_row": np.arange(NUM_VIDEOS, dtype=np.int32),
        "category": [TOPICS[i % len(TOPICS)] for i in range(NUM_VIDEOS)],
        "x": xy_V2[:, 0],
        "y": xy_V2[:, 1],
    }
    pq.write_table(pa.table(item_map), folder / "item_map.parquet")


def _write_run_manifests(night: Night) -> None:
    counts = {
        "ingest": RowCounts(5200, 5150, {"malformed_json": 30, "wrong_type": 20}),
        "clean": RowCounts(5150, 4700, {"duplicate_event": 250, "suspected_bot": 150, "unknown_video": 50}),
        "embed": RowCounts(120, 117, {"unreadable_media": 3}),
    }
    facts: dict[str, dict] = {
        "check": {"outcome": "passed", "warnings": []},
        "embed": {"fingerprints": {m: f"{m}-f1" for m in WIDTHS}},
    }
    steps = ("ingest", "clean", "embed", "check", "sequences", "snapshot", "align", "train", "evaluate")
    for seconds, name in enumerate(steps, 2):
        run_info = {
            "night": str(night.day),
            "commit": "abc123",
            "started_at": f"{night.day}T00:00:{seconds:02d}Z",
            "seconds": float(seconds),
            "peak_memory_mib": 512,
        }
        write_manifest(
            night.run_manifests,
            name,
            RunManifest(row_counts=counts.get(name), facts=facts.get(name, {})),
            run_info,
        )
