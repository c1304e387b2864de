"""What a killed run leaves behind counts for nothing: outputs start from an empty folder."""

import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from contracts import params as parameters
from contracts.digests import of_folder
from contracts.place import PROJECT, Night
from contracts.receipts import Receipt, write_receipt
from contracts.step import execute
from tasks import tracking
from tests.killed import killed
from tests.snapshots import NIGHT, plant
from tests.workspaces import sample_night

SMALL = {"align": {"epochs": 1, "width": 16}, "train": {"epochs": 1, "heads": 2}, "evaluate": {}}


def run(step: str, night: Night) -> Receipt:
    section = parameters.load(night.params).section(step)
    return import_module(f"tasks.{step}").run(section, night)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Night, dict[str, dict[str, str]]]:
    """A small night that nobody killed, and each step's digests."""
    folder = tmp_path_factory.mktemp("whole")
    raw = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    for name, changes in SMALL.items():
        raw[name] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    night = replace(plant(folder / "night", users=40, videos=60), params=folder / "params.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "log_run", lambda *_: "not logged")
        return night, {step: dict(run(step, night).digests) for step in SMALL}


@pytest.fixture
def night(whole: tuple[Night, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    monkeypatch.setattr(tracking, "log_run", lambda *_: "not logged")
    shutil.copytree(whole[0].workspace, tmp_path / "night")
    return Night(NIGHT, tmp_path / "night", whole[0].params)


@pytest.mark.parametrize("step", SMALL)
def test_a_step_run_again_after_a_kill_has_the_digests_of_one_that_was_not_killed(step, whole, night):
    killed(step, night)
    assert dict(run(step, night).digests) == whole[1][step]
    assert [path for path in (night.workspace / step).rglob("*") if path.name.startswith(".")] == []


@pytest.mark.parametrize("step", [*SMALL, "gate", "report"])
def test_what_an_older_run_left_is_gone_when_a_step_is_run_again(step, night, tmp_path):
    if step in ("gate", "report"):
        night = sample_night(tmp_path / "sample")
        run("gate", night)
    stale = night.folder(step) / "of-another-version.json"
    stale.write_text("{}")
    run(step, night)
    assert not stale.exists()


def test_temporary_files_never_count(tmp_path):
    for name in ("a.json", ".b.json.123", "sub/c.json", "sub/.d", ".hidden/e.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert list(of_folder(tmp_path)) == ["a.json", "sub/c.json"]


def test_a_step_clears_what_a_kill_left_of_its_receipt_and_of_no_others(tmp_path):
    night = sample_night(tmp_path / "night")
    for name in (".gate.json.123", ".promote.json.123"):
        (night.receipts / name).write_text("half")
    execute("gate", import_module("tasks.gate").run, parameters.load(night.params).gate, night)
    assert [path.name for path in night.receipts.glob(".*")] == [".promote.json.123"]
    write_receipt(night.receipts, "gate", Receipt(), {})
