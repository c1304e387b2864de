"""A home runs one Airflow at a time, whichever command starts it."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import DONE, FAILED, REFUSED_INPUT
from ops import backfill, demo, down, profiles, serve, up_lock
from ops.profiles import Profile
from tests.ops.test_up_lock import running  # noqa: F401 - a fixture
from tests.support.processes import free_port

RANGE = ["--from", "2026-03-09", "--to", "2026-03-09"]


@pytest.mark.parametrize("main", [serve.main, demo.main])
def test_a_second_airflow_of_a_home_is_refused(
    main: Callable[[], int],
    running: "subprocess.Popen[str]",  # noqa: F811
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("UNDERCURRENT_AIRFLOW_PORT", str(free_port()))
    assert main() == REFUSED_INPUT
    assert f"Airflow is already starting or running in {home}; end it with" in capsys.readouterr().err
    assert up_lock.holder() == running.pid


def test_make_down_ends_the_servers_of_a_moved_home(
    running: "subprocess.Popen[str]",  # noqa: F811
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (home / ".made-at").write_text(f"{home}\n")
    monkeypatch.setenv("UNDERCURRENT_HOME", str(home.rename(home.with_name("moved"))))
    assert down.main() == DONE
    assert running.wait(10) != 0


def test_a_shell_gets_the_ports_of_make_up(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERCURRENT_AIRFLOW_PORT", "8090")
    text = profiles.write_environment(Profile()).read_text()
    assert text == f"export UNDERCURRENT_HOME={home}\nexport UNDERCURRENT_AIRFLOW_PORT=8090\n"


def test_a_backfill_does_not_start_a_second_airflow_beside_one_on_another_port(
    running: "subprocess.Popen[str]",  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("UNDERCURRENT_AIRFLOW_PORT", str(port := free_port()))
    assert backfill.main(RANGE) == REFUSED_INPUT
    assert f"does not answer on port {port}; wait until it has started" in capsys.readouterr().err


def test_a_full_disk_ends_make_up_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(profile: Profile) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "environment.sh")

    monkeypatch.setenv("UNDERCURRENT_AIRFLOW_PORT", str(free_port()))
    monkeypatch.setenv("UNDERCURRENT_MLFLOW_PORT", str(free_port()))
    monkeypatch.setenv("UNDERCURRENT_PAGES_PORT", str(free_port()))
    monkeypatch.setattr(profiles, "write_environment", write)
    assert serve.main() == FAILED
    assert capsys.readouterr().err == "up: [Errno 28] No space left on device: 'environment.sh'\n"


def test_an_interrupted_backfill_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(port: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(backfill.airflow_server, "attach_or_start", interrupt)
    assert backfill.main(RANGE) == FAILED
    assert capsys.readouterr().err == "backfill: interrupted\n"
