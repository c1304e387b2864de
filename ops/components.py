"""What we keep running: Airflow's parts, MLflow's pages, and the nights' own pages."""

import os
import sys
from collections.abc import Mapping

from contracts import place
from ops.airflow_home import NO_TELEMETRY, airflow
from ops.ports import LOOPBACK, Ports
from ops.supervisor import Component


def airflow_parts(environment: Mapping[str, str], port: int) -> list[Component]:
    """The three that a night needs. No triggerer: nothing of ours is deferred.

    The scheduler's own log server is off (it would listen on every address); the API server reads the files.
    """
    return [
        Component("api-server", airflow("api-server", "--host", LOOPBACK, "--port", str(port)), environment),
        Component("scheduler", airflow("scheduler", "--skip-serve-logs"), environment),
        Component("dag-processor", airflow("dag-processor"), environment),
    ]


def triggerer(environment: Mapping[str, str]) -> Component:
    """For whoever adds a deferrable task; without it Airflow's pages show a red mark."""
    return Component("triggerer", airflow("triggerer", "--skip-serve-logs"), environment)


def mlflow_pages(ports: Ports) -> Component:
    """MLflow's web pages over the registry that the steps write to, behind a login."""
    command = [sys.executable, "-m", "ops.mlflow_pages", "--port", str(ports.mlflow)]
    return Component("mlflow", command, os.environ | NO_TELEMETRY | {"UNDERCURRENT_HOME": str(place.home())})


def night_pages(ports: Ports) -> Component:
    """The list of the nights, their reports, the data docs."""
    command = [sys.executable, "-m", "ops.pages", "--port", str(ports.pages)]
    return Component("pages", command, dict(os.environ))
