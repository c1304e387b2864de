"""What DVC runs leaves registry and record alone, until a person asks for it."""

import os
import subprocess
from pathlib import Path

import pytest

from contracts import place, production
from contracts.errors import InputError
from contracts.params import load
from contracts.place import PROJECT, Night
from contracts.receipts import Receipt, write_receipt
from tasks import gate, promote, record, report, tracking
from tasks.registry import Registry
from tests.workspaces import sample_night

PARAMS = load(PROJECT / "params.yaml")
STAMP = {"started": "2026-03-12T00:00:00Z", "commit": "abc123", "seconds": 1.0, "peak_memory_mib": 1}


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
def test_a_promotion_that_dvc_runs_moves_nothing_and_says_how_to_ask_for_it(night, home, capsys):
    facts = promote.run(PARAMS.promote, night).facts
    assert facts["outcome"] == "left alone: run by DVC; set UNDERCURRENT_PROMOTE=yes to ask for it"
    assert facts["version"] is None
    assert facts["registered"] is False
    assert "promote: left alone: run by DVC" in capsys.readouterr().err
    assert not home.exists()


@pytest.mark.usefixtures("by_dvc")
def test_a_record_that_dvc_runs_commits_and_tags_nothing(night, home, capsys):
    write_receipt(night.receipts, "promote", promote.run(PARAMS.promote, night), STAMP)
    facts = record.run(PARAMS.record, night).facts
    assert facts["outcome"].startswith("left alone: run by DVC")
    assert facts["tag"] is None
    assert "record: left alone: run by DVC" in capsys.readouterr().err
    assert not place.record().exists()
    write_receipt(night.receipts, "record", Receipt(facts=facts), STAMP)
    report.run(PARAMS.report, night)
    page = (night.workspace / "report/report.html").read_text(encoding="utf-8")
    assert "The registry of <b>undercurrent</b> is left alone: run by DVC" in page


@pytest.mark.usefixtures("by_dvc")
def test_asked_for_a_promotion_that_dvc_runs_acts_as_ever(night, monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_PROMOTE", "yes")
    assert promote.run(PARAMS.promote, night).facts["champion"] == "1"
    assert Registry().holder("champion").number == "1"


@pytest.mark.usefixtures("by_dvc")
@pytest.mark.parametrize("word", ["true", "1", "YES"])
def test_any_other_word_than_yes_or_no_is_refused(word, monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_PROMOTE", word)
    with pytest.raises(InputError, match=f"UNDERCURRENT_PROMOTE is '{word}'; write yes .* or no"):
        production.left_alone()


@pytest.mark.parametrize("word", ["", "no"])
def test_a_step_that_a_person_or_airflow_starts_is_never_left_alone(word, monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_PROMOTE", word)
    assert production.left_alone() is None
    monkeypatch.setenv("DVC_STAGE", "promote")
    assert production.left_alone()


def test_looking_for_the_champion_makes_no_registered_model(home):
    assert Registry().holder("champion") is None
    assert tracking.client().search_registered_models() == []


@pytest.mark.usefixtures("by_dvc")
def test_a_training_that_dvc_runs_is_logged_beside_production(home):
    logged = tracking.log_run("2026-03-12", {}, [], {})
    found = tracking.client()
    names = {e.experiment_id: e.name for e in found.search_experiments()}
    assert names[found.get_run(logged).info.experiment_id] == "undercurrent-experiments"


def test_dvc_sets_the_variable_that_is_looked_for(tmp_path):
    (tmp_path / "dvc.yaml").write_text('stages:\n  one:\n    cmd: echo "said:$DVC_STAGE"\n')
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "repro"]):
        done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert "said:one" in done.stdout + done.stderr
