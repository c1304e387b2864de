import csv
import json
import random
import subprocess
import sys
from pathlib import Path

from tasks.importers.segmm import COLUMNS, FILE, labels


def _release(folder: Path, views: int) -> Path:
    """A made-up sample in SegMM's form: everybody leaves in the second segment, or not at all."""
    draw = random.Random(3)
    with (folder / FILE).open("w", newline="") as file:
        rows = csv.DictWriter(file, list(COLUMNS))
        rows.writeheader()
        for i in range(views):
            duration = draw.randrange(12_000, 30_000)
            watched = draw.choice([7000, duration])
            row = {"user_id": f"u{i % 7}", "video_id": f"v{i}", "time_ms": i, "duration_ms": duration}
            label = " ".join(map(str, labels(watched, duration)))
            rows.writerow({**row, "playing_time": watched, "label_1D": f"[{label}]"})
    return folder


def _run(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.quality", "--set", "segmm", "--path", str(path)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_last_line_tells_ours_beside_the_baseline(tmp_path):
    done = _run(_release(tmp_path, 200))
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])["figures"]
    assert figures["hr@1_position_only"] == figures["hr@1_ours"] == 1.0
    assert figures["ndcg@10_ours_minus_position_only"]["mean"] == 0
    assert 0 < figures["views"] < 20  # the views that ended, of the newest tenth
    assert figures["people"] <= 7


def test_a_folder_without_the_release_is_refused_in_one_sentence(tmp_path):
    done = _run(tmp_path / "absent")
    assert done.returncode == 2
    assert done.stderr.startswith("quality: refused: ")
    assert "Traceback" not in done.stderr


def test_too_few_views_to_split_are_refused(tmp_path):
    done = _run(_release(tmp_path, 20))
    assert done.returncode == 2
    assert "at least 100 are needed" in done.stderr
