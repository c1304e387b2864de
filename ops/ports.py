"""The ports of the servers. All of them listen on 127.0.0.1 only."""

import os
import random
import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields

from core.errors import InputError

LOOPBACK = "127.0.0.1"
SERVER_PORTS = range(20_000, 32_768)  # Linux gives outgoing connections the ports after them


@dataclass(frozen=True)
class Ports:
    """The port of each server. A variable such as UNDERCURRENT_AIRFLOW_PORT overrides a default."""

    airflow: int = 8080
    mlflow: int = 5000
    pages: int = 8081
    postgres: int = 5433
    s3: int = 8333
    spark: int = 7077


def from_environment() -> Ports:
    """Read the ports from the environment.

    Raises:
        InputError: a value is not a port number, or two servers have the same port.
    """
    port_by_server = {
        f.name: _read_port(_variable_name(f.name), getattr(Ports, f.name)) for f in fields(Ports)
    }
    if len(set(port_by_server.values())) < len(port_by_server):
        raise InputError(
            "two servers have the same port: "
            + ", ".join(f"{_variable_name(name)}={port}" for name, port in port_by_server.items())
            + "; set different ports"
        )
    return Ports(**port_by_server)


def set_variables() -> dict[str, str]:
    """Return the variables of the environment that set a port, with their values."""
    names = [_variable_name(f.name) for f in fields(Ports)]
    return {name: os.environ[name] for name in names if name in os.environ}


def require_free(name: str, port: int) -> None:
    """Check that a server can listen on a port.

    Args:
        name: a field of `Ports`.

    Raises:
        InputError: the port is in use. The message names the variable that sets another one.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise InputError(
                f"port {port} for {name} cannot be used ({error.strerror}); stop the process that uses it, "
                f"or set {_variable_name(name)} to a free port"
            ) from None


def find_free(count: int) -> list[int]:
    """Return ports that nothing listens on. All differ.

    An outgoing connection could take a port of the system's own range before the server listens on it.
    """
    free = list[int]()
    with ExitStack() as stack:
        while len(free) < count:
            port, probe = random.SystemRandom().choice(SERVER_PORTS), stack.enter_context(socket.socket())
            with suppress(OSError):  # in use
                probe.bind((LOOPBACK, port))
                free.append(port)
    return free


def allowed_hosts(port: int) -> frozenset[str]:
    """Return the allowed values of the header Host of a server on this port.

    A foreign name that resolves to this machine is an attack: a foreign page could then read the responses
    (DNS rebinding).
    """
    names = (LOOPBACK, "localhost", "[::1]")
    return frozenset(f"{name}:{port}" for name in names) | (frozenset(names) if port == 80 else frozenset())


def _variable_name(name: str) -> str:
    return f"UNDERCURRENT_{name.upper()}_PORT"


def _read_port(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise InputError(f"{variable} is {text!r}; set a port number from 1 to 65535")
    return int(text)
