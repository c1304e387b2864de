import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from ops.airflow_api import AirflowClient
from ops.scheduler_watch import CHECK_SECONDS, HUNG_CHECKS, SchedulerWatch
from ops.supervisor import Component, Supervisor

CHECKS = HUNG_CHECKS + 1  # the first check learns the heartbeat


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Mock:
    clock = Mock(return_value=0.0)
    monkeypatch.setattr("ops.scheduler_watch.time", Mock(monotonic=clock))
    return clock


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with Supervisor([Component("scheduler", command, {})], tmp_path) as supervisor:
        yield supervisor


def watch(supervisor: Supervisor, clock: Mock, heartbeats: list[str | None]) -> None:
    """Check once for each heartbeat."""
    api = Mock(spec=AirflowClient)
    api.scheduler_heartbeat.side_effect = heartbeats
    scheduler_watch = SchedulerWatch(api, supervisor)
    for _ in heartbeats:
        clock.return_value += CHECK_SECONDS
        scheduler_watch.check()


def test_a_scheduler_that_gives_no_sign_of_life_is_restarted(
    supervisor: Supervisor, clock: Mock, capsys: pytest.CaptureFixture[str]
) -> None:
    hung = supervisor.pid("scheduler")
    watch(supervisor, clock, ["04:16:52"] * CHECKS)
    assert "scheduler has hung since 04:16:52" in capsys.readouterr().err
    supervisor.wait_for(lambda: supervisor.pid("scheduler") != hung, "the next scheduler", timeout=30)


@pytest.mark.parametrize("heartbeats", [[None] * CHECKS, list(map(str, range(CHECKS)))])
def test_a_scheduler_that_works_or_is_unknown_goes_on(
    supervisor: Supervisor, clock: Mock, heartbeats: list[str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    watch(supervisor, clock, heartbeats)
    assert capsys.readouterr().err == ""
    assert supervisor.restart_dead() == []
