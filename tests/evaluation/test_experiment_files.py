import json
from pathlib import Path
from typing import Any

import pytest

from core.baselines import BASELINE_LABELS
from evaluation.experiment_files import headline_metrics, write_experiment_files

BIN = {"predicted": 0.25, "observed": 0.2, "num_interactions": 10}


@pytest.fixture
def details() -> dict[str, Any]:
    challenger = {"ndcg@5": 0.3, "recall@5": 0.4, "mrr@5": 0.2, "coverage@5": 0.9, "auc": 0.7}
    challenger |= {"calibration_error": 0.05, "ranking_head": "like"}  # type: ignore[dict-item]
    baselines = {name: {"ndcg@5": 0.1} for name in BASELINE_LABELS} | {"ease": {"ndcg@5": 0.2}}
    return {
        "primary_metric": "ndcg@5",
        "models": {"challenger": challenger, **baselines},
        "ranking_heads": {"challenger": {"like": {"calibration_curve": [BIN]}}},
        "differences": {"ease": {"ndcg@5": {"mean": 0.1}}, "champion": {"ndcg@5": {"mean": 0.01}}},
        "slices": {"cold_users": {"num_users": 7, "challenger": 0.15}},
        "modality_weights": {
            "entropy": 0.5,
            "max_entropy": 1.0,
            "users": {"mean": {"text": 0.6, "audio": 0.4}},
            "by_user_segment": {"age=18": {"mean": {"text": 0.7, "audio": 0.3}}},
        },
        "embedding_drift": {"max_p95_drift": None},
    }


def test_headlines_are_a_dozen_flat_numbers(details: dict[str, Any]) -> None:
    assert headline_metrics(details) == {
        "ndcg@5": 0.3,
        "recall@5": 0.4,
        "mrr@5": 0.2,
        "coverage@5": 0.9,
        "auc": 0.7,
        "calibration_error": 0.05,
        "ndcg@5_cold_users": 0.15,
        "ndcg@5_new_videos": None,
        "gain_over_champion": 0.01,
        "gain_over_best_baseline": 0.1,
        "modality_entropy": 0.5,
        "embedding_drift": None,
    }


def test_a_baseline_has_the_same_headlines(details: dict[str, Any]) -> None:
    names = set(headline_metrics(details))
    for name in ("auc", "calibration_error", "ranking_head"):
        del details["models"]["challenger"][name]
    del details["differences"]["champion"]
    details["modality_weights"] |= {"entropy": None, "max_entropy": 0.0}
    headlines = headline_metrics(details)
    assert set(headlines) == names
    assert headlines["auc"] is headlines["gain_over_champion"] is headlines["modality_entropy"] is None


def test_each_plot_has_a_table(details: dict[str, Any], tmp_path: Path) -> None:
    write_experiment_files(tmp_path, details)
    tables = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "plots").iterdir()}
    assert tables["slices"] == [{"slice": "cold_users", "ndcg": 0.15, "num_users": 7}]
    assert tables["calibration"] == [BIN]
    assert {row["group"]: row["weight"] for row in tables["modality_weights"]} == {
        "all users: text": 0.6,
        "all users: audio": 0.4,
        "age=18: text": 0.7,
        "age=18: audio": 0.3,
    }


def test_a_model_without_heads_and_modalities_has_empty_tables(
    details: dict[str, Any], tmp_path: Path
) -> None:
    del details["models"]["challenger"]["ranking_head"]
    details["modality_weights"] |= {"users": {}, "by_user_segment": {}}
    write_experiment_files(tmp_path, details)
    assert json.loads((tmp_path / "plots" / "calibration.json").read_text()) == []
    assert json.loads((tmp_path / "plots" / "modality_weights.json").read_text()) == []
