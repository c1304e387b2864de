"""Run an Airflow for as long as a command needs it, or use the one that `make up` runs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from core import paths
from core.errors import InputError
from ops import airflow_home, components, ports, up_lock
from ops.airflow_api import AirflowClient
from ops.ports import LOOPBACK
from ops.supervisor import Supervisor

DAG_ID = "nightly"


@contextmanager
def start(port: int) -> Iterator[tuple[AirflowClient, Supervisor]]:
    """Start API server, scheduler and DAG processor. Yield a client when the DAGs are parsed.

    The caller holds `up_lock.hold()`.

    Args:
        port: port of the API server.

    Raises:
        InputError: the port is in use.
        ComponentDiedError: a component keeps dying.
        TimeoutError: Airflow was not ready in time.
    """
    ports.require_free("airflow", port)
    environment = airflow_home.build_environment(port)
    logs = airflow_home.folder() / "components"
    airflow_home.initialise(environment, logs / "prepare.log")
    api = client(port)
    with Supervisor(components.airflow_components(environment, port), logs) as supervisor:
        wait_until_ready(api, supervisor)
        yield api, supervisor


def wait_until_ready(api: AirflowClient, supervisor: Supervisor) -> None:
    """Log in, and wait until every component is healthy and the DAGs are parsed.

    Raises:
        ComponentDiedError: a component keeps dying.
        TimeoutError: Airflow was not ready in time.
    """
    supervisor.wait_for(api.is_healthy, "Airflow", timeout=240)
    api.log_in()
    supervisor.wait_for(lambda: api.has_dag(DAG_ID), f"the DAG {DAG_ID}", timeout=120)


@contextmanager
def attach_or_start(port: int) -> Iterator[tuple[AirflowClient, Supervisor]]:
    """Yield a client of the Airflow of this home that runs on the port. If none runs, start one.

    Raises:
        InputError: another program uses the port, or the Airflow of this home does not answer on it.
    """
    api = client(port)
    if not api.is_healthy():
        if up_lock.holder() is not None:
            raise InputError(
                f"the Airflow of {paths.home()} does not answer on port {port}; wait until it has started,"
                " set UNDERCURRENT_AIRFLOW_PORT to its port, or end it with `make down`"
            )
        print("starting Airflow (about 30 s)", file=sys.stderr)
        with up_lock.hold(), start(port) as started:
            yield started
        return
    try:
        api.log_in()
    except requests.RequestException:
        raise InputError(
            f"port {port} belongs to the Airflow of another home; set UNDERCURRENT_AIRFLOW_PORT to a free"
            " port"
        ) from None
    yield api, Supervisor([], airflow_home.folder() / "components")


def client(port: int) -> AirflowClient:
    """Return a client of the API server on this port. It is not logged in."""
    return AirflowClient(f"http://{LOOPBACK}:{port}", airflow_home.USER, airflow_home.get_password())
