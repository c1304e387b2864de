import socket

import pytest

from core.errors import InputError
from ops import ports
from ops.ports import LOOPBACK, Ports


def test_the_environment_chooses_the_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERCURRENT_MLFLOW_PORT", "15000")
    assert ports.from_environment() == Ports(airflow=8080, mlflow=15000, pages=8081)


@pytest.mark.parametrize("text", ["", "http", "0", "65536", "-1", "80.5"])
def test_an_invalid_port_number_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERCURRENT_AIRFLOW_PORT", text)
    with pytest.raises(InputError, match=r"UNDERCURRENT_AIRFLOW_PORT is .*from 1 to 65535"):
        ports.from_environment()


def test_one_port_for_two_servers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERCURRENT_MLFLOW_PORT", "8080")
    with pytest.raises(InputError, match="same port"):
        ports.from_environment()


def test_a_port_in_use_is_refused_with_the_setting_to_change() -> None:
    with socket.socket() as other_socket:
        other_socket.bind((LOOPBACK, 0))
        other_socket.listen()
        number = other_socket.getsockname()[1]
        with pytest.raises(InputError, match=f"port {number} for mlflow .*UNDERCURRENT_MLFLOW_PORT"):
            ports.require_free("mlflow", number)
    ports.require_free("mlflow", number)


def test_free_ports_are_distinct_and_out_of_the_reach_of_outgoing_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used_port, free = ports.find_free(2)
    monkeypatch.setattr(ports, "SERVER_PORTS", (used_port, free))
    with socket.socket() as other_socket:
        other_socket.bind((LOOPBACK, used_port))
        assert ports.find_free(1) == [free]
    assert set(ports.find_free(2)) == {used_port, free}
    assert max(used_port, free) < 32_768  # the first one of an outgoing connection, as Linux sets it
