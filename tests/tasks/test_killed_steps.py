"""What a killed run leaves behind counts for nothing: outputs start from an empty folder."""

import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from core import config as parameters
from core.hashing import hash_folder
from core.paths import PROJECT_ROOT, Night
from core.run_manifests import RunManifest, write_manifest
from core.step_cli import run_step
from registry import tracking
from tests.support.killed_runs import killed
from tests.support.snapshots import NIGHT, plant
from tests.support.workspaces import sample_night

SMALL = {"align": {"epochs": 1, "width": 16}, "train": {"epochs": 1}, "evaluate": {}}


def run(step: str, night: Night) -> RunManifest:
    section = parameters.load_params(night.params_path).section(step)
    return import_module(f"tasks.{step}").run(section, night)


@pytest.fixture(scope="module")
def finished_night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Night, dict[str, dict[str, str]]]:
    """A small night without a kill, and the digests of each step."""
    folder = tmp_path_factory.mktemp("whole")
    raw = yaml.safe_load((PROJECT_ROOT / "params.yaml").read_text(encoding="utf-8"))
    for name, changes in SMALL.items():
        raw[name] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    night = replace(plant(folder / "night", users=40, videos=60), params_path=folder / "params.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "log_run", lambda *_: "not logged")
        return night, {step: dict(run(step, night).digests) for step in SMALL}


@pytest.fixture
def night(finished_night: tuple[Night, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    monkeypatch.setattr(tracking, "log_run", lambda *_: "not logged")
    shutil.copytree(finished_night[0].workspace, tmp_path / "night")
    return Night(NIGHT, tmp_path / "night", finished_night[0].params_path)


@pytest.mark.parametrize("step", SMALL)
def test_a_repeated_step_has_the_same_digests_after_a_kill(step, finished_night, night):
    killed(step, night)
    assert dict(run(step, night).digests) == finished_night[1][step]
    assert [path for path in (night.workspace / step).rglob("*") if path.name.startswith(".")] == []


@pytest.mark.parametrize("step", [*SMALL, "gate", "report"])
def test_a_repeated_step_removes_older_files(step, night, tmp_path):
    if step in ("gate", "report"):
        night = sample_night(tmp_path / "sample")
        run("gate", night)
    stale = night.folder(step) / "of-another-version.json"
    stale.write_text("{}")
    run(step, night)
    assert not stale.exists()


def test_temporary_files_are_not_hashed(tmp_path):
    for name in ("a.json", ".b.json.123", "sub/c.json", "sub/.d", ".hidden/e.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert list(hash_folder(tmp_path)) == ["a.json", "sub/c.json"]


def test_a_step_removes_only_its_own_temporary_run_manifests(tmp_path):
    night = sample_night(tmp_path / "night")
    for name in (".gate.json.123", ".promote.json.123"):
        (night.run_manifests / name).write_text("half")
    run_step("gate", import_module("tasks.gate").run, parameters.load_params(night.params_path).gate, night)
    assert [path.name for path in night.run_manifests.glob(".*")] == [".promote.json.123"]
    write_manifest(night.run_manifests, "gate", RunManifest(), {})
