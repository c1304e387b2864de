import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from benchmarks.chaos import servers
from benchmarks.chaos.servers import Server
from ops.spark_cluster import is_listening
from ops.supervisor import Component
from tests.support.processes import eventually, free_port


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def server(port: int, tmp_path: Path) -> Iterator[Server]:
    """The proxy as a server. Its target does not listen."""
    command = [sys.executable, "-m", "benchmarks.chaos.tcp_proxy", str(free_port()), str(port)]
    component = Component("proxy", command, {})
    with Server(component, partial(is_listening, port), tmp_path / "log") as server:
        yield server


def test_a_stopped_server_can_be_started_again(server: Server, port: int) -> None:
    for _ in range(2):
        assert is_listening(port)
        server.stop()
        assert not is_listening(port)
        server.start()


def test_a_server_that_runs_is_not_started_again(server: Server) -> None:
    before = server.process_id
    server.start()
    assert server.process_id == before


def test_a_stalled_server_goes_on_after_the_stall(server: Server) -> None:
    process = psutil.Process(server.process_id)
    server.stall()
    assert eventually(lambda: process.status() == psutil.STATUS_STOPPED)
    server.resume()
    assert eventually(lambda: process.status() != psutil.STATUS_STOPPED)


def test_a_server_is_asked_with_the_logins_of_its_own_home(home: Path, tmp_path: Path) -> None:
    asked_in: list[str] = []
    assert not servers._with_home(
        tmp_path,
        lambda: bool(asked_in.append(os.environ["UNDERCURRENT_HOME"])),  # type: ignore[func-returns-value]
    )
    assert asked_in == [str(tmp_path)]
    assert os.environ["UNDERCURRENT_HOME"] == str(home)
