"""Airflow's database cannot be prepared."""

import sys
from pathlib import Path

import pytest

from core.errors import FAILED
from ops import airflow_cli, airflow_home

UNREACHABLE = """
raise OSError('connection to postgresql://ann:s3cret@db/airflow failed')
"""


def test_an_unreachable_database_is_named_without_its_password_and_tried_again(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(airflow_home, "SETUP", [sys.executable, "-c", UNREACHABLE])
    assert airflow_cli.main(["dags", "list"]) == FAILED
    log = home / "airflow" / "components" / "prepare.log"
    assert capsys.readouterr().err == (
        "airflow: Airflow's database cannot be prepared (exit code 1):"
        f" OSError: connection to postgresql://***@db/airflow failed; see {log}\n"
    )
    assert not airflow_home.is_initialised()  # the next call tries again


def test_the_last_error_of_a_command_is_reported_and_not_one_of_an_earlier_command(tmp_path: Path) -> None:
    log = tmp_path / "prepare.log"
    log.write_text("old.Error: gone\n")
    start = log.stat().st_size
    with log.open("a") as output:
        output.write("Traceback\nsqlalchemy.exc.OperationalError: no é\n(Background on this error)\n")
    assert airflow_home._last_error(log, start) == "sqlalchemy.exc.OperationalError: no é"
    assert airflow_home._last_error(log, log.stat().st_size) == "no output"
