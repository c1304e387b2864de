import csv
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.quality import ranking
from core.errors import DONE, REFUSED_INPUT
from datasets.segmm import COLUMNS, INTERACTIONS_FILE, segment_labels


def _release(folder: Path, num_interactions: int) -> Path:
    """Write a sample in SegMM's form: users leave in the second segment or watch to the end."""
    draw = random.Random(3)
    with (folder / INTERACTIONS_FILE).open("w", newline="") as file:
        rows = csv.DictWriter(file, list(COLUMNS))
        rows.writeheader()
        for i in range(num_interactions):
            duration = draw.randrange(12_000, 30_000)
            watched = draw.choice([7000, duration])
            row = {"user_id": f"u{i % 7}", "video_id": f"v{i}", "time_ms": i, "duration_ms": duration}
            label = " ".join(map(str, segment_labels(watched, duration)))
            rows.writerow({**row, "playing_time": watched, "label_1D": f"[{label}]"})
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], int]:
    """Call the benchmark as its command does, and return the exit code."""

    def call(path: Path) -> int:
        monkeypatch.setattr(sys, "argv", ["ranking", "--set", "segmm", "--path", str(path)])
        return ranking.main()

    return call


def test_the_last_line_is_the_result(run, tmp_path, capsys):
    assert run(_release(tmp_path, 200)) == DONE
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert figures["hr@1_position_only"] == figures["hr@1_undercurrent"] == 1.0
    assert figures["ndcg@10_undercurrent_minus_position_only"]["mean"] == 0
    assert 0 < figures["interactions"] < 20  # of the newest tenth, those with an exit
    assert figures["users"] <= 7


def test_a_folder_without_the_release_is_refused():
    command = [sys.executable, "-m", "benchmarks.quality.ranking", "--set", "segmm", "--path", "absent"]
    completed = subprocess.run(command, capture_output=True, text=True)
    assert completed.returncode == REFUSED_INPUT
    assert completed.stderr.startswith("quality: refused: ")
    assert "Traceback" not in completed.stderr


def test_too_few_interactions_are_refused(run, tmp_path, capsys):
    assert run(_release(tmp_path, 20)) == REFUSED_INPUT
    assert "at least 100 are needed" in capsys.readouterr().err
