"""Summaries of segment scores, means by user, and the refusal of a folder without simulation."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from research.studies.simulator_segments import summarise_segments
from research.studies.simulator_skips import mean_by_user


def test_segment_summaries_ignore_segments_beyond_the_end() -> None:
    exists_BT = torch.tensor([[True, True, False]]).expand(3, 3)
    p_BT = torch.tensor([[3.0, 2.0, -9.0], [3.0, 2.0, 9.0], [-3.0, 2.0, 0.0]])
    first, same, leaves = summarise_segments(p_BT, exists_BT)
    assert torch.equal(first, same)
    assert first.tolist()[:3] == [2.5, 2.0, 3.0]
    assert first[3] > leaves[3]


def test_mean_by_user_weighs_users_equally() -> None:
    mean_RB = mean_by_user(np.array([[1.0, 0.0, 5.0]]), np.array([7, 7, 9]))
    assert mean_RB.tolist() == [[0.5, 5.0]]


def test_a_folder_without_simulation_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "research.studies.simulator_segments", "--path", str(tmp_path)]
    completed = subprocess.run(command, capture_output=True, text=True)
    assert completed.returncode == 2
    assert completed.stderr.startswith("simulator_segments: refused: ")
    assert "python -m simulator make" in completed.stderr
    assert "Traceback" not in completed.stderr
