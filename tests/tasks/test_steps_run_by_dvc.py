"""Steps run by DVC leave registry and record unchanged unless asked for."""

import os
import subprocess
from pathlib import Path

import pytest

from core import paths, production
from core.config import load_params
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from core.run_manifests import RunManifest, write_manifest
from registry import tracking
from registry.model_registry import ModelRegistry
from tasks import gate, promote, record, report
from tests.support.workspaces import sample_night

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
STAMP = {"started_at": "2026-03-12T00:00:00Z", "commit": "abc123", "seconds": 1.0, "peak_memory_mib": 1}


@pytest.fixture
def night(tmp_path: Path) -> Night:
    night = sample_night(tmp_path / "night", champion=None)
    gate.run(PARAMS.gate, night)
    return night


@pytest.fixture
def by_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    """As DVC starts a stage's command."""
    monkeypatch.setenv("DVC_STAGE", "promote")
    monkeypatch.setenv("DVC_ROOT", "/somewhere")


@pytest.mark.usefixtures("by_dvc")
def test_a_promotion_run_by_dvc_moves_nothing(night, home, capsys):
    facts = promote.run(PARAMS.promote, night).facts
    assert facts["outcome"] == "left alone: run by DVC; set UNDERCURRENT_PROMOTE=yes to ask for it"
    assert facts["version"] is None
    assert facts["newly_registered"] is False
    assert "promote: left alone: run by DVC" in capsys.readouterr().err
    assert not home.exists()


@pytest.mark.usefixtures("by_dvc")
def test_a_record_run_by_dvc_commits_nothing(night, home, capsys):
    write_manifest(night.run_manifests, "promote", promote.run(PARAMS.promote, night), STAMP)
    facts = record.run(PARAMS.record, night).facts
    assert facts["outcome"].startswith("left alone: run by DVC")
    assert facts["tag"] is None
    assert "record: left alone: run by DVC" in capsys.readouterr().err
    assert not paths.record().exists()
    write_manifest(night.run_manifests, "record", RunManifest(facts=facts), STAMP)
    report.run(PARAMS.report, night)
    page = (night.workspace / "report/report.html").read_text(encoding="utf-8")
    assert "The registry of <b>undercurrent</b> is left alone: run by DVC" in page


@pytest.mark.usefixtures("by_dvc")
def test_a_requested_promotion_run_by_dvc_promotes(night, monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_PROMOTE", "yes")
    assert promote.run(PARAMS.promote, night).facts["champion"] == "1"
    assert ModelRegistry().get_by_alias("champion").number == "1"


@pytest.mark.usefixtures("by_dvc")
@pytest.mark.parametrize("word", ["true", "1", "YES"])
def test_a_setting_other_than_yes_or_no_is_refused(word, monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_PROMOTE", word)
    with pytest.raises(InputError, match=f"UNDERCURRENT_PROMOTE is '{word}'; write yes .* or no"):
        production.why_read_only()


@pytest.mark.parametrize("word", ["", "no"])
def test_a_step_not_run_by_dvc_writes(word, monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_PROMOTE", word)
    assert production.why_read_only() is None
    monkeypatch.setenv("DVC_STAGE", "promote")
    assert production.why_read_only()


def test_reading_the_champion_creates_no_registered_model(home):
    assert ModelRegistry().get_by_alias("champion") is None
    assert tracking.client().search_registered_models() == []


@pytest.mark.usefixtures("by_dvc")
def test_a_training_run_by_dvc_has_its_own_experiment(home):
    logged = tracking.log_run("2026-03-12", {}, [], {})
    client = tracking.client()
    names = {e.experiment_id: e.name for e in client.search_experiments()}
    assert names[client.get_run(logged).info.experiment_id] == "undercurrent-experiments"


def test_dvc_sets_the_stage_variable(tmp_path):
    (tmp_path / "dvc.yaml").write_text('stages:\n  one:\n    cmd: echo "said:$DVC_STAGE"\n')
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "repro"]):
        completed = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert "said:one" in completed.stdout + completed.stderr
