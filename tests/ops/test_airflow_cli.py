"""`make airflow`: Airflow's command line in the environment of the home."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import REFUSED_INPUT
from core.paths import PROJECT_ROOT
from ops import airflow_cli


def test_the_first_command_finds_a_database_with_the_pools(home: Path) -> None:
    command = [sys.executable, "-m", "ops.airflow_cli", "pools", "list", "--output", "json"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    pools = {pool["pool"]: pool["slots"] for pool in json.loads(done.stdout[done.stdout.index("[{") :])}
    assert (pools["gpu"], pools["heavy"], pools["promotion"]) == ("1", "2", "1")
    assert (home / "airflow" / "airflow.db").exists()


def test_a_wrong_port_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("UNDERCURRENT_AIRFLOW_PORT", "web")
    assert airflow_cli.main(["dags", "list"]) == REFUSED_INPUT
    assert "airflow: refused: UNDERCURRENT_AIRFLOW_PORT is 'web'" in capsys.readouterr().err
