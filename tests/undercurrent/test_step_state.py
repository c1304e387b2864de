from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import pytest

from core.config import PrivacyConfig, load_params
from core.failures import Failure, write_failure
from core.paths import PROJECT_ROOT, Night
from core.pseudonyms import KEY_VARIABLE
from core.run_manifests import RunManifest, write_manifest
from tests.support.pseudonyms import KEY, SECRET
from undercurrent.step_state import plan_step, read_state

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
DAY = date(2026, 3, 5)


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """A night whose first two steps are done, one after the other."""
    night = Night(DAY, tmp_path / "night")
    _complete(night, "ingest", "01:00")
    _complete(night, "clean", "02:00")
    return night


def _complete(night: Night, step: str, started: str, commit: str = "abc", day: date = DAY) -> None:
    run_info = {
        "night": str(day),
        "params": asdict(PARAMS.section(step)),
        "commit": commit,
        "started_at": f"2026-03-06T{started}:00Z",
        "seconds": 1.0,
    }
    write_manifest(night.run_manifests, step, RunManifest(), run_info)


def _reasons(night: Night, step: str = "clean", params=PARAMS) -> tuple[str, ...]:
    planned = plan_step(night, step, params, "abc")
    assert planned.up_to_date == (not planned.reasons)
    return planned.reasons


def test_a_step_after_its_upstream_steps_with_the_same_parameters_is_up_to_date(night):
    assert _reasons(night) == ()
    assert plan_step(night, "clean", PARAMS, "abc").reads == ("events", "videos", "landings")


def test_ingest_always_looks_for_new_files(night):
    assert _reasons(night, "ingest") == ("looks for new landing files",)


def test_a_changed_parameter_is_named_with_both_values(night):
    changed = replace(PARAMS, clean=replace(PARAMS.clean, late_days=5))
    assert _reasons(night, params=changed) == ("late_days 2 → 5",)


def test_a_changed_parameter_of_the_model_is_named_by_its_path(night):
    for number, step in enumerate(("embed", "check", "sequences", "snapshot", "align", "train"), 3):
        _complete(night, step, f"0{number}:00")
    model = replace(PARAMS.train.model, dropout=0.5)
    changed = replace(PARAMS, train=replace(PARAMS.train, model=model))
    assert _reasons(night, "train", changed) == ("model.dropout 0.2 → 0.5",)


def test_a_changed_key_of_the_pseudonyms_is_named_by_its_fingerprint(night, monkeypatch):
    for number, step in enumerate(("embed", "check", "sequences", "snapshot"), 3):
        _complete(night, step, f"0{number}:00")
    assert _reasons(night, "snapshot") == ()
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    private = replace(PARAMS, privacy=PrivacyConfig(pseudonymise=True))
    assert _reasons(night, "snapshot", private) == (f"pseudonym_key None → {KEY.fingerprint}",)


def test_an_upstream_step_that_ran_later_is_named(night):
    _complete(night, "ingest", "03:00")
    assert _reasons(night) == ("ingest ran later",)


def test_an_upstream_step_that_is_not_done_is_named(night):
    (night.run_manifests / "ingest.json").unlink()
    assert _reasons(night) == ("ingest is not done",)


def test_changed_code_and_another_night_are_named(night):
    _complete(night, "clean", "02:00", "old", date(2026, 3, 4))
    assert _reasons(night) == ("the workspace holds the night 2026-03-04", "code old → abc")


def test_a_failed_step_gives_its_reason(night):
    write_failure(night.workspace, "clean", Failure(2, "no such file"))
    assert _reasons(night) == ("refused: no such file",)
    assert read_state(night, "clean").manifest == {}


def test_a_step_that_never_ran_is_not_run(night):
    assert _reasons(night, "embed") == ("not run",)
