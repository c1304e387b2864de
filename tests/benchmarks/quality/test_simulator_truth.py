"""Metrics of a simulation, computed on a small ground truth."""

import subprocess
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from benchmarks.quality.simulator_truth import (
    GroundTruth,
    ceiling_ndcg,
    select_users,
    weight_correlation,
)
from models.data.sequences import SeenItems
from models.data.targets import Targets
from tests.support.model_inputs import make_sequences

DAY = date(2026, 3, 12)


def make_ground_truth(users: list[dict | None], videos: list[dict] | None = None) -> GroundTruth:
    """Make a ground truth of these users and videos without files."""
    ground_truth = GroundTruth.__new__(GroundTruth)
    ground_truth.modalities, ground_truth.users = ["visual", "text", "audio"], users
    ground_truth.videos = list(videos or [])
    return ground_truth


def test_weight_correlation_is_one_for_the_planted_order_and_minus_one_for_the_reverse() -> None:
    planted = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.5, 0.1, 0.4], [0.1, 0.2, 0.7]])
    ground_truth, users = (
        make_ground_truth([{"modality_weights": row.tolist()} for row in planted]),
        torch.arange(4),
    )
    names = ["visual", "text", "audio"]
    squeezed = 1 / 3 + 0.1 * (planted - 1 / 3)
    assert weight_correlation([squeezed], ground_truth, users, names)["spearman_lowest"] == 1
    negated = squeezed * [1, -1, 1]
    metrics = weight_correlation([negated], ground_truth, users, names)
    assert metrics["spearman"] == {"visual": 1, "text": -1, "audio": 1}
    assert metrics["spearman_lowest"] == -1


def test_weight_correlation_compares_modalities_by_name() -> None:
    ground_truth = make_ground_truth(
        [{"modality_weights": [0.6, 0.1, 0.3]}, {"modality_weights": [0.2, 0.7, 0.1]}]
    )
    metrics = weight_correlation(
        [np.array([[0.9, 0.1], [0.8, 0.2]])], ground_truth, torch.arange(2), ["visual", "audio"]
    )
    assert metrics["spearman"] == {"visual": 1, "audio": -1}


def test_the_oracle_ranks_by_modalities_and_the_preference_of_the_day() -> None:
    user = {"modality_weights": [0.5, 0.3, 0.2], "drift_day": date(2026, 3, 12)}
    user |= {"initial_preference": [5.0, 0.0], "drifted_preference": [0.0, 5.0]}
    videos = [
        {"segment_topics": [0, 0], "text": 0, "audio": 0, "quality": 0.0},
        {"segment_topics": [0, 1], "text": 1, "audio": 1, "quality": 0.0},
        {"segment_topics": [1, 1], "text": 1, "audio": 1, "quality": 0.0},
    ]
    nothing_seen = SeenItems(torch.zeros(2, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    snapshot = SimpleNamespace(seen_items=lambda _: nothing_seen, night=SimpleNamespace(day=DAY))
    targets = Targets(torch.tensor([0]), torch.tensor([2]))
    assert ceiling_ndcg(snapshot, make_ground_truth([user], videos), targets, 10).tolist() == [1.0]  # type: ignore[arg-type]
    stable_user = user | {"drift_day": None}
    assert ceiling_ndcg(snapshot, make_ground_truth([stable_user], videos), targets, 10).tolist() == [0.5]  # type: ignore[arg-type]


def test_bots_and_users_with_few_interactions_are_not_selected() -> None:
    assert select_users(make_ground_truth([None, {}, {}]), make_sequences((30, 30, 19))).tolist() == [1]


def test_a_folder_without_simulation_is_refused(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.quality.ranking",
        "--set",
        "simulator",
        "--path",
        str(tmp_path),
    ]
    completed = subprocess.run(command, capture_output=True, text=True)
    assert completed.returncode == 2
    assert completed.stderr.startswith("quality: refused: ")
    assert "python -m simulator make" in completed.stderr
    assert "Traceback" not in completed.stderr
