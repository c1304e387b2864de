"""The study reads a simulated platform, and compares detected with planted days."""

import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from research.studies.interest_drift import DriftTest
from research.studies.simulator_drift import EPOCH, content_vectors, drift_metrics

DAY = (date(2026, 3, 10) - EPOCH).days


def test_metrics_compare_with_the_planted_days() -> None:
    planted = [DAY, DAY + 2, None, None, DAY]
    users = pa.table(
        {
            "drift_day": [None if day is None else EPOCH + timedelta(days=day) for day in planted],
            "total_drift_angle": [90.0, 90.0, 50.0, 0.0, 90.0],
        }
    )
    p_value_B = torch.tensor([0.001, 0.001, 0.001, 0.9, torch.nan])
    metrics = drift_metrics(DriftTest(p_value_B, torch.full((5,), DAY)), users)
    assert (metrics["users"], metrics["flagged"], metrics["recall"]) == (4, 3, 1.0)
    assert (metrics["precision"], metrics["precision_within_1_day"]) == (0.667, 0.333)
    assert (metrics["mean_day_error"], metrics["share_of_commonest_day"]) == (1.0, 1.0)
    assert (metrics["large_gradual_users"], metrics["flagged_of_large_gradual"]) == (1, 1.0)


def test_a_missing_modality_is_zero_and_changes_no_other(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    rows = [
        {
            "video_id": f"v{video}",
            "modality": modality,
            "vector": torch.randn(16, generator=generator).tolist(),
        }
        for video in range(20)
        for modality in ("visual", "text", "audio")
        if (video, modality) != (3, "text")
    ]
    folder = tmp_path / "landing/features/dt=2026-03-10"
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "features.parquet")
    content_VMD = content_vectors(tmp_path, [f"v{video}" for video in range(20)]).view(20, 3, -1)
    assert (content_VMD[3] == 0).all(1).tolist() == [False, True, False]
    assert (content_VMD != 0).any(2).sum() == 59


def test_a_folder_without_simulation_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "research.studies.simulator_drift", "--path", str(tmp_path)]
    completed = subprocess.run(command, capture_output=True, text=True)
    assert completed.returncode == 2
    assert completed.stderr.startswith("simulator_drift: refused: ")
