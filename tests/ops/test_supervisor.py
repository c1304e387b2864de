import os
import signal
import sys
from pathlib import Path

import pytest

from ops.supervisor import Component, ComponentDiedError, Supervisor
from tests.support.processes import eventually, is_alive


def python_component(name: str, code: str) -> Component:
    return Component(name, [sys.executable, "-c", code], os.environ)


RUNNING = python_component("running", "import time; time.sleep(60)")


def test_a_killed_component_is_restarted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Supervisor([RUNNING], tmp_path) as supervisor:
        first = supervisor.pid("running")
        assert supervisor.restart_dead() == []
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: supervisor.restart_dead() == ["running"])
        second = supervisor.pid("running")
        assert second != first
        assert is_alive(second)
    assert "running died (exit code -9); restarting it" in capsys.readouterr().err


def test_a_component_that_keeps_dying_is_reported_with_its_log(tmp_path: Path) -> None:
    broken = python_component("broken", "import sys; print('no such table', flush=True); sys.exit(4)")
    with (
        Supervisor([broken], tmp_path) as supervisor,
        pytest.raises(ComponentDiedError, match=r"broken keeps dying \(exit code 4\)[^$]*no such table"),
    ):
        supervisor.wait_for(lambda: False, "nothing", timeout=60)


def test_passwords_in_the_log_are_redacted(tmp_path: Path) -> None:
    broken = python_component("broken", "raise SystemExit('postgresql://ann:s3cret@db/x is away')")
    with Supervisor([broken], tmp_path) as supervisor, pytest.raises(ComponentDiedError) as died:
        supervisor.wait_for(lambda: False, "nothing", timeout=60)
    assert "postgresql://***@db/x is away" in str(died.value)
    assert "s3cret" not in str(died.value)


def test_waiting_times_out(tmp_path: Path) -> None:
    with Supervisor([RUNNING], tmp_path) as supervisor, pytest.raises(TimeoutError, match="the server"):
        supervisor.wait_for(lambda: False, "the server", timeout=0.1)


def test_leaving_the_supervisor_stops_every_component(tmp_path: Path) -> None:
    with Supervisor(
        [RUNNING, python_component("other", "import time; time.sleep(60)")], tmp_path
    ) as supervisor:
        pids = [supervisor.pid("running"), supervisor.pid("other")]
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))
