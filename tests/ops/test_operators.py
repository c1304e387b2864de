from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from contracts import place
from contracts.errors import InputError
from ops.operators import StepOperator, night_of


def context(night: str | None = None, key: str | None = None) -> dict[str, Any]:
    return {"params": {"night": night}, "dag_run": SimpleNamespace(partition_key=key)}


def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> StepOperator:
    """An operator whose step is this code, run by the same command as a real one."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "probe.py").write_text(code)
    monkeypatch.setattr(place, "PROJECT", tmp_path)
    return StepOperator(task_id="probe")


def test_the_night_is_the_form_s_or_else_the_partition_of_the_scheduled_run() -> None:
    assert night_of(context(night="2026-03-09")) == date(2026, 3, 9)
    assert night_of(context(key="2026-03-10")) == date(2026, 3, 10)
    assert night_of(context(night="2026-03-09", key="2026-03-10")) == date(2026, 3, 9)


@pytest.mark.parametrize("given", [context(), context(night=""), context(night="None"), context(key="today")])
def test_a_night_that_nobody_gave_is_refused_and_not_guessed(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="YYYY-MM-DD"):
        night_of(given)


def test_a_run_without_a_night_fails_for_good() -> None:
    with pytest.raises(AirflowFailException, match="ingest: refused: the run says no night"):
        StepOperator(task_id="ingest").execute(context())


@pytest.mark.parametrize(("code", "word"), [(2, "refused"), (3, "blocked")])
def test_refused_input_and_blocked_checks_fail_for_good_with_the_step_s_sentence(
    code: int, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = step(tmp_path, monkeypatch, f"print('probe: {word}: so it is'); raise SystemExit({code})")
    with pytest.raises(AirflowFailException, match=f"^probe: {word}: so it is$"):
        probe.execute(context("2026-03-09"))


def test_any_other_failure_may_be_retried_and_carries_the_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = step(tmp_path, monkeypatch, "raise OSError('disk full')")
    with pytest.raises(RuntimeError, match="exit code 1; its last words: OSError: disk full"):
        probe.execute(context("2026-03-09"))


def test_no_password_of_a_step_s_words_gets_into_airflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "postgresql://ann:s3cret@db/x"
    probe = step(tmp_path, monkeypatch, f"print('retrying {address}'); raise OSError('{address} is away')")
    lines: list[str] = []
    monkeypatch.setattr(probe.log, "info", lines.append)
    with pytest.raises(RuntimeError, match=r"OSError: postgresql://\*\*\*@db/x is away"):
        probe.execute(context("2026-03-09"))
    assert "retrying postgresql://***@db/x" in lines
    assert "s3cret" not in "".join(lines)


def test_the_step_gets_the_night_its_workspace_and_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.chdir(home.parent)
    monkeypatch.setenv("UNDERCURRENT_HOME", home.name)  # relative: the step runs in another folder
    told = tmp_path / "told"
    said = "repr((sys.argv[1:], os.environ['UNDERCURRENT_HOME']))"
    code = f"import os, sys; open({str(told)!r}, 'w').write({said})"
    step(tmp_path, monkeypatch, code).execute(context("2026-03-09"))
    arguments = ["--night", "2026-03-09", "--workspace", str(home / "nights" / "2026-03-09")]
    assert told.read_text() == repr((arguments, str(home)))
