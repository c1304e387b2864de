import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from mlflow.exceptions import MlflowException

from core.errors import ServiceUnavailableError
from core.paths import PROJECT_ROOT
from registry import tracking

KILLED = """
import os, signal
from alembic.ddl.impl import DefaultImpl
from registry import tracking
DefaultImpl.add_column = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
tracking.client().search_experiments()
"""


def test_a_database_whose_creation_was_killed_is_created_again(home: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(PROJECT_ROOT)}
    killed = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (home / "mlflow" / "mlflow.db").exists()
    assert tracking.client().search_experiments()


@pytest.mark.parametrize(
    ("address", "in_home"),
    [
        ("sqlite:////tmp/mlflow.db", True),
        ("postgresql+psycopg://user@127.0.0.1/mlflow", True),
        ("http://127.0.0.1:5000", False),
    ],
)
def test_artifacts_are_in_the_home_unless_a_server_stores_them(
    address: str, in_home: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    client = Mock(get_experiment_by_name=Mock(return_value=None))
    tracking.get_or_create_experiment(client)
    artifacts = (home / "mlflow" / "artifacts").as_uri() if in_home else None
    client.create_experiment.assert_called_once_with("undercurrent", artifacts)


def test_a_full_disk_of_the_registry_has_its_own_remedy(home: Path) -> None:
    error = MlflowException("(sqlite3.OperationalError) database or disk is full")
    with (
        pytest.raises(ServiceUnavailableError, match=r"disk is full; free space on its disk$"),
        tracking.translate_errors(),
    ):
        raise error
