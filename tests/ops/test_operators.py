from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from core import paths
from core.errors import InputError
from ops.operators import CommandOperator, StepOperator, night_of


def context(night: str | None = None, key: str | None = None) -> dict[str, Any]:
    return {"params": {"night": night}, "dag_run": SimpleNamespace(partition_key=key)}


def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> StepOperator:
    """Return an operator whose step runs this code by the usual command."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "probe.py").write_text(code)
    monkeypatch.setattr(paths, "PROJECT_ROOT", tmp_path)
    return StepOperator(task_id="probe")


def test_the_night_comes_from_the_form_or_the_partition_key() -> None:
    assert night_of(context(night="2026-03-09")) == date(2026, 3, 9)
    assert night_of(context(key="2026-03-10")) == date(2026, 3, 10)
    assert night_of(context(night="2026-03-09", key="2026-03-10")) == date(2026, 3, 9)


@pytest.mark.parametrize(
    "empty_context", [context(), context(night=""), context(night="None"), context(key="today")]
)
def test_a_missing_night_is_refused(empty_context: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="YYYY-MM-DD"):
        night_of(empty_context)


def test_a_run_without_a_night_is_not_retried() -> None:
    with pytest.raises(AirflowFailException, match="ingest: refused: the run has no night"):
        StepOperator(task_id="ingest").execute(context())


@pytest.mark.parametrize(("code", "word"), [(2, "refused"), (3, "blocked")])
def test_refused_input_and_blocked_checks_are_not_retried(
    code: int, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = step(tmp_path, monkeypatch, f"print('probe: {word}: the reason'); raise SystemExit({code})")
    with pytest.raises(AirflowFailException, match=f"^probe: {word}: the reason$"):
        probe.execute(context("2026-03-09"))


def test_other_failures_are_retried_and_report_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = step(tmp_path, monkeypatch, "raise OSError('disk full')")
    with pytest.raises(RuntimeError, match="exit code 1; last line of its output: OSError: disk full"):
        probe.execute(context("2026-03-09"))


def test_passwords_in_the_step_output_are_redacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "postgresql://ann:s3cret@db/x"
    probe = step(tmp_path, monkeypatch, f"print('retrying {address}'); raise OSError('{address} is away')")
    lines: list[str] = []
    monkeypatch.setattr(probe.log, "info", lines.append)
    with pytest.raises(RuntimeError, match=r"OSError: postgresql://\*\*\*@db/x is away"):
        probe.execute(context("2026-03-09"))
    assert "retrying postgresql://***@db/x" in lines
    assert "s3cret" not in "".join(lines)


def test_the_step_gets_the_night_the_workspace_and_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    link = home.parent / "link"
    link.symlink_to(home)
    monkeypatch.setenv("UNDERCURRENT_HOME", str(link))
    output = tmp_path / "output"
    expression = "repr((sys.argv[1:], os.environ['UNDERCURRENT_HOME']))"
    code = f"import os, sys; open({str(output)!r}, 'w').write({expression})"
    step(tmp_path, monkeypatch, code).execute(context("2026-03-09"))
    arguments = ["--night", "2026-03-09", "--workspace", str(home / "nights" / "2026-03-09")]
    assert output.read_text() == repr((arguments, str(home)))


def test_a_command_gets_its_options_and_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    output = tmp_path / "output"
    expression = "repr((sys.argv[1:], os.environ['UNDERCURRENT_HOME']))"
    code = f"import os, sys; open({str(output)!r}, 'w').write({expression})"
    (tmp_path / "undercurrent.py").write_text(code)
    monkeypatch.setattr(paths, "PROJECT_ROOT", tmp_path)
    CommandOperator(task_id="forget", options=["--user-ids", "ids.txt"]).execute(context())
    assert output.read_text() == repr((["forget", "--user-ids", "ids.txt"], str(home)))
