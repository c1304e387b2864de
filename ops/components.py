"""The servers that `make demo` and `make up` run: Airflow, MLflow and the nights' web pages."""

import os
import sys
from collections.abc import Mapping
from types import MappingProxyType

from core import paths
from ops.airflow_home import NO_TELEMETRY, airflow_command
from ops.ports import LOOPBACK, Ports
from ops.supervisor import Component


def airflow_components(environment: Mapping[str, str], port: int) -> list[Component]:
    """Return the three Airflow components that a night needs.

    No step is deferred, so a night needs no triggerer. The scheduler's log server is off, because it would
    listen on every address. The API server reads the log files instead.

    Args:
        environment: from `airflow_home.build_environment`.
        port: port of the API server.
    """
    return [
        Component(
            "api-server", airflow_command("api-server", "--host", LOOPBACK, "--port", str(port)), environment
        ),
        Component("scheduler", airflow_command("scheduler", "--skip-serve-logs"), environment),
        Component("dag-processor", airflow_command("dag-processor"), environment),
    ]


def triggerer(environment: Mapping[str, str]) -> Component:
    """Return Airflow's triggerer. Without it Airflow's pages report an unhealthy component."""
    return Component("triggerer", airflow_command("triggerer", "--skip-serve-logs"), environment)


def mlflow_web(
    ports: Ports, variables: Mapping[str, str] = MappingProxyType({}), artifacts: str | None = None
) -> Component:
    """Return MLflow's web server, with a login, over the registry of the steps.

    Args:
        variables: settings of this server only, such as the address of its database.
        artifacts: where it keeps the files of runs. None: in the home.
    """
    command = [sys.executable, "-m", "ops.mlflow_web", "--port", str(ports.mlflow)]
    if artifacts:
        command += ["--artifacts", artifacts]
    environment = {**os.environ, **NO_TELEMETRY, "UNDERCURRENT_HOME": str(paths.home()), **variables}
    return Component("mlflow", command, environment)


def night_web(ports: Ports) -> Component:
    """Return the web server of the nights' pages: overview, reports, data docs."""
    command = [sys.executable, "-m", "ops.web", "--port", str(ports.pages)]
    return Component("web", command, dict(os.environ))
