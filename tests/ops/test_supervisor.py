import os
import signal
import sys
from pathlib import Path

import pytest

from ops.supervisor import Component, ComponentDiedError, Supervisor
from tests.ops.test_child import alive, soon


def python(name: str, code: str) -> Component:
    return Component(name, [sys.executable, "-c", code], os.environ)


LASTING = python("lasting", "import time; time.sleep(60)")


def test_what_is_killed_is_started_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Supervisor([LASTING], tmp_path) as supervisor:
        first = supervisor.pid("lasting")
        assert supervisor.watch() == []
        os.kill(first, signal.SIGKILL)
        assert soon(lambda: supervisor.watch() == ["lasting"])
        second = supervisor.pid("lasting")
        assert second != first
        assert alive(second)
    assert "lasting ended (exit code -9); starting it again" in capsys.readouterr().err


def test_what_keeps_dying_is_reported_with_its_last_words(tmp_path: Path) -> None:
    broken = python("broken", "import sys; print('no such table', flush=True); sys.exit(4)")
    with (
        Supervisor([broken], tmp_path) as supervisor,
        pytest.raises(ComponentDiedError, match=r"broken keeps dying \(exit code 4\)[^$]*no such table"),
    ):
        supervisor.wait_for(lambda: False, "nothing", patience=60)


def test_last_words_tell_no_password(tmp_path: Path) -> None:
    broken = python("broken", "raise SystemExit('postgresql://ann:s3cret@db/x is away')")
    with Supervisor([broken], tmp_path) as supervisor, pytest.raises(ComponentDiedError) as died:
        supervisor.wait_for(lambda: False, "nothing", patience=60)
    assert "postgresql://***@db/x is away" in str(died.value)
    assert "s3cret" not in str(died.value)


def test_waiting_for_what_never_comes_ends(tmp_path: Path) -> None:
    with Supervisor([LASTING], tmp_path) as supervisor, pytest.raises(TimeoutError, match="the moon"):
        supervisor.wait_for(lambda: False, "the moon", patience=0.1)


def test_leaving_ends_every_component(tmp_path: Path) -> None:
    with Supervisor([LASTING, python("other", "import time; time.sleep(60)")], tmp_path) as supervisor:
        pids = [supervisor.pid("lasting"), supervisor.pid("other")]
        assert all(map(alive, pids))
    assert not any(map(alive, pids))
