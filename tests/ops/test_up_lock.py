import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import DONE, InputError
from core.paths import PROJECT_ROOT
from ops import down, up_lock
from tests.support.processes import eventually

# A `make up` without servers.
HOLDER = """
import signal, time
from ops import up_lock
signal.signal(signal.SIGTERM, signal.default_int_handler)
with up_lock.hold():
    time.sleep(600)
"""


@pytest.fixture
def running(home: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER], cwd=PROJECT_ROOT, stderr=subprocess.DEVNULL, text=True
    )
    assert eventually(lambda: up_lock.holder() == process.pid)
    return process


def test_make_down_ends_a_running_make_up(running: "subprocess.Popen[str]") -> None:
    assert down.main() == DONE
    assert running.wait(10) != 0  # interrupted
    assert up_lock.holder() is None


def test_a_second_make_up_of_a_home_is_refused(running: "subprocess.Popen[str]", home: Path) -> None:
    with pytest.raises(InputError, match=f"running in {home}; end it with `make down`"), up_lock.hold():
        pass
    running.kill()
    running.wait()
    with up_lock.hold():
        assert up_lock.holder() is not None


def test_make_down_without_make_up_is_no_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert down.main() == DONE
    assert "no servers run" in capsys.readouterr().err
    assert not home.exists()


def test_a_process_that_does_not_end_is_reported(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stubborn = HOLDER.replace("signal.default_int_handler", "signal.SIG_IGN")
    process = subprocess.Popen([sys.executable, "-c", stubborn], cwd=PROJECT_ROOT, text=True)
    assert eventually(lambda: up_lock.holder() == process.pid)
    monkeypatch.setattr(down, "STOP_SECONDS", 0.5)
    assert down.main() == 1
    assert f"process {process.pid} did not end" in capsys.readouterr().err
    process.kill()
    process.wait()
