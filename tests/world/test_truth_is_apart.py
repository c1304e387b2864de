"""No step of the pipeline can read the truth: it does not know of it, and what it reads holds none of it."""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from contracts.params import Ingest
from contracts.place import PROJECT, Night, parse_day
from tasks import ingest
from tests.world.conftest import Made
from world import truth

PIPELINE = ("checks", "contracts", "dags", "media", "models", "spark_jobs", "tasks")
FILES = sorted(path for package in PIPELINE for path in (PROJECT / package).rglob("*.py"))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def _texts(tree: ast.Module) -> Iterator[str]:
    """String constants, but for those that are statements (docstrings)."""
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_no_step_imports_the_world_or_names_its_truth(path: Path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [name for name in _imports(tree) if name.split(".")[0] == "world"]
    assert not [text for text in _texts(tree) if truth.NAME in text.lower().replace("/", " ").split()]


def test_the_check_above_would_see_an_offender():
    tree = ast.parse(
        '"""On truth."""\nfrom world.days import live\npath = home() / "truth"\nother = "var/truth"\n'
    )
    assert "world.days" in list(_imports(tree))
    assert sorted(_texts(tree)) == ["truth", "var/truth"]
    assert len(FILES) > 20


def test_the_landing_folder_holds_nothing_of_the_truth(tiny: Made):
    secret = _columns(tiny.truth)
    assert {"first_taste", "weights", "drift_day", "appeal", "interest", "left_segment", "kind"} <= secret
    told = set()
    for path in tiny.landing.rglob("*.parquet"):
        told |= set(pq.read_schema(path).names)
    for path in tiny.landing.rglob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            try:
                told |= set(json.loads(line))
            except json.JSONDecodeError:
                continue
    shared = {"user_id", "video_id", "event_id", "duration_ms", "watched_ms"}
    assert not told & (secret - shared)
    assert "event_type" in told


def test_the_truth_tells_tastes_weights_drift_appeal_and_dirt(tiny: Made):
    people = pq.read_table(tiny.truth / "users.parquet").to_pylist()
    assert all(len(person["first_taste"]) == 12 and len(person["weights"]) == 3 for person in people)
    assert any(person["drift_day"] for person in people)
    videos = pq.read_table(tiny.truth / "videos.parquet").to_pylist()
    assert all(len(video["appeal"]) == len(video["segment_topics"]) for video in videos)
    assert pq.read_table(tiny.truth / "viewings.parquet").num_rows == tiny.counts["viewings"]
    assert pq.read_table(tiny.truth / "dirt.parquet").num_rows == tiny.counts["dirty"]
    assert json.loads((tiny.truth / "world.json").read_text())["trend_day"] == "2026-03-03"


def test_taking_a_world_in_opens_no_file_of_the_truth(
    tiny: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("UNDERCURRENT_LANDING", str(tiny.landing))
    opened: list[str] = []
    watching = True
    sys.addaudithook(lambda name, args: opened.append(str(args[0])) if watching and name == "open" else None)
    ingest.run(
        Ingest(batch_rows=5000, max_record_kib=64, max_file_mib=64),
        Night(parse_day("2026-03-03"), tmp_path / "night"),
    )
    watching = False
    assert any(str(tiny.landing) in name for name in opened)
    assert not any(str(tiny.truth) in name for name in opened)


def _columns(folder: Path) -> set[str]:
    return {name for path in folder.glob("*.parquet") for name in pq.read_schema(path).names}
