import csv
import json
import random
import subprocess
import sys
from pathlib import Path

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


def _run(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.quality.ranking", "--set", "segmm", "--path", str(path)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_last_line_is_the_result(tmp_path):
    completed = _run(_release(tmp_path, 200))
    assert completed.returncode == 0, completed.stderr
    figures = json.loads(completed.stdout.splitlines()[-1])["figures"]
    assert figures["hr@1_position_only"] == figures["hr@1_undercurrent"] == 1.0
    assert figures["ndcg@10_undercurrent_minus_position_only"]["mean"] == 0
    assert 0 < figures["interactions"] < 20  # of the newest tenth, those with an exit
    assert figures["users"] <= 7


def test_a_folder_without_the_release_is_refused(tmp_path):
    completed = _run(tmp_path / "absent")
    assert completed.returncode == 2
    assert completed.stderr.startswith("quality: refused: ")
    assert "Traceback" not in completed.stderr


def test_too_few_interactions_are_refused(tmp_path):
    completed = _run(_release(tmp_path, 20))
    assert completed.returncode == 2
    assert "at least 100 are needed" in completed.stderr
