import json
from datetime import date
from pathlib import Path

import pytest

from core.errors import CHECKS_BLOCKED, DONE
from core.failures import Failure, write_failure
from core.paths import Night
from core.run_manifests import RunManifest, write_json, write_manifest
from core.step_graph import STEPS
from tests.support.command_line import undercurrent
from undercurrent.status import format_status, read_night, read_status

TODAY = date(2026, 3, 9)


@pytest.fixture
def nights(home: Path) -> Path:
    return home / "nights"


def _complete(nights: Path, day: str, promote: bool = True, version: str = "2", champion: str = "2") -> Night:
    """Write what a complete night leaves."""
    night = Night(date.fromisoformat(day), nights / day)
    facts = {
        "promote": {"version": version, "champion": champion, "outcome": "does not become champion: frozen"},
        "clean": {"missing_days": ["2026-03-01"]},
    }
    info = {"night": day, "params": {}, "commit": "abc", "started_at": "2026-03-06T01:00:00Z", "seconds": 1.0}
    for step in STEPS:
        write_manifest(night.run_manifests, step, RunManifest(facts=facts.get(step, {})), info)
    verdict = {
        "night": day,
        "champion": None,
        "incumbent": None,
        "reference": "champion",
        "promote": promote,
        "needs_approval": False,
        "summary": "Better." if promote else "Not better.",
        "bundle_digest": "",
        "metrics_digest": "",
        "conditions": [],
    }
    write_json(night.workspace / "gate" / "verdict.json", verdict)
    return night


@pytest.mark.parametrize(
    ("promote", "version", "champion", "verdict", "reason"),
    [
        (True, "2", "2", "promoted", "Better."),
        (False, "2", "1", "refused", "Not better."),
        (True, "2", "1", "not promoted", "does not become champion: frozen"),
    ],
)
def test_a_complete_night_has_its_verdict_and_champion(nights, promote, version, champion, verdict, reason):
    status = read_night(_complete(nights, "2026-03-05", promote, version, champion))
    assert (status.state, status.step, status.verdict) == ("complete", None, verdict)
    assert (status.champion, status.reason) == (champion, reason)
    assert status.missing_days == ("2026-03-01",)


def test_a_stopped_night_names_the_step_and_the_reason(nights):
    night = _complete(nights, "2026-03-05")
    write_failure(night.workspace, "check", Failure(CHECKS_BLOCKED, "half is gone"))
    status = read_night(night)
    assert (status.state, status.step, status.reason) == ("blocked", "check", "half is gone")
    assert status.verdict is None


def test_a_killed_or_running_night_is_incomplete(nights):
    night = _complete(nights, "2026-03-05")
    (night.run_manifests / "train.json").unlink()
    status = read_night(night)
    assert (status.state, status.step) == ("incomplete", "train")


def test_a_night_whose_early_step_ran_again_alone_is_incomplete(nights):
    night = _complete(nights, "2026-03-05")
    path = night.run_manifests / "gate.json"
    write_json(path, json.loads(path.read_text()) | {"started_at": "2026-03-06T02:00:00Z"})
    status = read_night(night)
    assert (status.state, status.step, status.reason) == ("incomplete", "promote", "gate ran later")


def test_a_damaged_file_is_the_reason_of_its_night(nights):
    night = _complete(nights, "2026-03-05")
    (night.workspace / "gate" / "verdict.json").write_text("{")
    status = read_night(night)
    assert status.state == "failed"
    assert "verdict.json" in status.reason


def test_missing_days_are_landed_days_without_a_complete_night(nights, landing):
    for day in range(3, 9):
        (landing / "events" / f"dt=2026-03-0{day}").mkdir(parents=True)
    _complete(nights, "2026-03-05")
    write_failure(nights / "2026-03-06", "check", Failure(CHECKS_BLOCKED, "half is gone"))
    _complete(nights, "2026-03-07")
    status = read_status(2, TODAY)
    assert status.missing_days == ("2026-03-06", "2026-03-08")
    assert (status.newest_landing_day, status.newest_complete_night) == ("2026-03-08", "2026-03-07")
    assert status.days_old == 2
    assert [night.night for night in status.nights] == ["2026-03-07", "2026-03-06"]
    assert (status.champion, status.problems) == (None, ())


def test_a_night_after_today_names_the_clock(nights):
    _complete(nights, "2026-03-10")
    text = format_status(read_status(1, TODAY))
    assert "2026-03-10, which is after today; correct the clock of this machine" in text


def test_an_empty_home_has_a_status_and_stays_empty(home, capsys):
    assert undercurrent("status") == DONE
    assert "newest complete night: no night is complete" in capsys.readouterr().out
    assert not home.exists()


def test_a_registry_that_does_not_answer_is_a_problem_and_no_error(nights, monkeypatch, capsys):
    _complete(nights, "2026-03-05")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:s3cret@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert undercurrent("status", "--json") == DONE
    status = json.loads(capsys.readouterr().out)
    assert status["problems"][0].startswith("registry: MLFLOW_TRACKING_URI is http://***@127.0.0.1:1")
    assert status["nights"][0]["verdict"] == "promoted"
