"""The ports of our servers, all on loopback."""

import os
import socket
from dataclasses import dataclass, fields

from contracts.errors import InputError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Defaults; the environment overrides each: UNDERCURRENT_AIRFLOW_PORT and so on."""

    airflow: int = 8080
    mlflow: int = 5000
    pages: int = 8081


def from_environment() -> Ports:
    """The ports to use.

    Raises:
        InputError: a setting is no port number, or two are the same.
    """
    found = {f.name: _port(_variable(f.name), getattr(Ports, f.name)) for f in fields(Ports)}
    if len(set(found.values())) < len(found):
        raise InputError(f"two servers were given the same port ({found}); set UNDERCURRENT_…_PORT apart")
    return Ports(**found)


def require_free(name: str, port: int) -> None:
    """See that nobody listens there.

    Raises:
        InputError: the port is in use; names the setting that chooses another.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise InputError(
                f"port {port} for {name} cannot be used ({error.strerror}); stop what uses it, "
                f"or set {_variable(name)} to a free one"
            ) from None


def own_hosts(port: int) -> frozenset[str]:
    """The Host headers of requests that are meant for a server of ours.

    Any other name that leads here is a trick: a page of elsewhere would read our answers as its own (DNS
    rebinding).
    """
    names = (LOOPBACK, "localhost", "[::1]")
    return frozenset(f"{name}:{port}" for name in names) | (frozenset(names) if port == 80 else frozenset())


def _variable(name: str) -> str:
    return f"UNDERCURRENT_{name.upper()}_PORT"


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise InputError(f"{variable} is {text!r}; give a port number from 1 to 65535")
    return int(text)
