"""No step can read the ground truth: no code names it, and no landing file holds it."""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core.config import IngestConfig
from core.paths import PROJECT_ROOT, Night, parse_day
from simulator import ground_truth
from tasks import ingest
from tests.support.simulated_platforms import SimulatedPlatform

PIPELINE = (
    "checks", "core", "dags", "datasets", "evaluation", "features", "lake", "media", "models", "registry",
    "reporting", "snapshots", "spark_jobs", "tasks", "training", "undercurrent",
)  # fmt: skip
FILES = sorted(path for package in PIPELINE for path in (PROJECT_ROOT / package).rglob("*.py"))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _texts(tree: ast.Module) -> Iterator[str]:
    """Return the string constants except docstrings."""
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
            yield node.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_no_step_imports_the_simulator_or_names_its_ground_truth(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [name for name in _imports(tree) if name.split(".")[0] == "simulator"]
    assert not [
        text for text in _texts(tree) if ground_truth.FOLDER_NAME in text.lower().replace("/", " ").split()
    ]


def test_the_check_finds_an_offender():
    tree = ast.parse(
        '"""On ground_truth."""\nfrom simulator.timeline import Simulation\n'
        'path = home() / "ground_truth"\nother = "var/ground_truth"\n'
    )
    assert "simulator.timeline" in list(_imports(tree))
    assert sorted(_texts(tree)) == ["ground_truth", "var/ground_truth"]
    assert len(FILES) > 20


def test_the_landing_folder_holds_no_ground_truth(tiny: SimulatedPlatform):
    hidden = _columns(tiny.ground_truth)
    assert {
        "initial_preference",
        "modality_weights",
        "drift_day",
        "segment_appeal",
        "affinity",
        "exit_segment",
    } <= hidden
    assert "corruption" in hidden
    public = set()
    for path in tiny.landing.rglob("*.parquet"):
        public |= set(pq.read_schema(path).names)
    for path in tiny.landing.rglob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            try:
                public |= set(json.loads(line))
            except json.JSONDecodeError:
                continue
    shared = {"user_id", "video_id", "event_id", "duration_ms", "watched_ms"}
    assert not public & (hidden - shared)
    assert "event_type" in public


def test_the_ground_truth_holds_preferences_weights_drift_appeal_and_corruptions(tiny: SimulatedPlatform):
    users = pq.read_table(tiny.ground_truth / "users.parquet").to_pylist()
    assert all(len(user["initial_preference"]) == 12 and len(user["modality_weights"]) == 3 for user in users)
    assert any(user["drift_day"] for user in users)
    videos = pq.read_table(tiny.ground_truth / "videos.parquet").to_pylist()
    assert all(len(video["segment_appeal"]) == len(video["segment_topics"]) for video in videos)
    assert pq.read_table(tiny.ground_truth / "interactions.parquet").num_rows == tiny.counts["interactions"]
    assert pq.read_table(tiny.ground_truth / "corruptions.parquet").num_rows == tiny.counts["corrupted_lines"]
    assert json.loads((tiny.ground_truth / "simulator.json").read_text())["trend_day"] == "2026-03-03"


def test_ingest_opens_no_file_of_the_ground_truth(
    tiny: SimulatedPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("UNDERCURRENT_LANDING", str(tiny.landing))
    opened: list[str] = []
    auditing = True
    sys.addaudithook(lambda name, args: opened.append(str(args[0])) if auditing and name == "open" else None)
    ingest.run(
        IngestConfig(batch_rows=5000, max_record_kib=64, max_file_mib=64),
        Night(parse_day("2026-03-03"), tmp_path / "night"),
    )
    auditing = False
    assert any(str(tiny.landing) in name for name in opened)
    assert not any(str(tiny.ground_truth) in name for name in opened)


def _columns(folder: Path) -> set[str]:
    return {name for path in folder.glob("*.parquet") for name in pq.read_schema(path).names}
