import socket

from benchmarks.chaos.tcp_proxy import tcp_proxy
from tests.support.processes import free_port


def test_bytes_pass_in_both_directions() -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        tcp_proxy(server.getsockname()[1], port),
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        connection, _ = server.accept()
        client.sendall(b"question")
        assert connection.recv(8) == b"question"
        connection.sendall(b"reply")
        assert client.recv(5) == b"reply"
        connection.close()
        assert client.recv(1) == b""


def test_a_client_of_a_stopped_server_does_not_wait() -> None:
    port = free_port()
    with tcp_proxy(free_port(), port), socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        assert client.recv(1) == b""
