"""The shapes of `make up`: `default` with files in the home, `postgres` with servers as on a cluster."""

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from core import paths
from core.errors import InputError
from ops import mlflow_web, postgres_server, s3_server, spark_cluster
from ops.ports import LOOPBACK, Ports, set_variables
from ops.private_files import private_umask
from ops.supervisor import Component

START_SECONDS = 120.0


@dataclass(frozen=True)
class Store:
    """A server that the others need: it starts before them and ends after them.

    Attributes:
        component: Its process.
        is_ready: Whether it answers.
    """

    component: Component
    is_ready: Callable[[], bool]


@dataclass(frozen=True)
class Profile:
    """What a shape adds to Airflow, MLflow and the nights' web pages.

    Attributes:
        stores: In the order in which they start.
        workers: Servers that nothing waits for.
        prepare: What is done once the stores are ready.
        variables: Settings of Airflow, of the steps and of a shell that runs steps. They hold secrets.
        mlflow_variables: Settings of the MLflow server in place of those.
        mlflow_artifacts: Where the MLflow server keeps artifacts. None: in the home.
    """

    stores: tuple[Store, ...] = ()
    workers: tuple[Component, ...] = ()
    prepare: Callable[[], None] = lambda: None
    variables: Mapping[str, str] = field(default_factory=dict)
    mlflow_variables: Mapping[str, str] = field(default_factory=dict)
    mlflow_artifacts: str | None = None


# name -> the servers whose ports it uses
SERVERS = {
    "default": ("airflow", "mlflow", "pages"),
    "postgres": ("airflow", "mlflow", "pages", "postgres", "s3", "spark"),
}


def servers(name: str) -> tuple[str, ...]:
    """Return the servers whose ports a profile uses, as fields of `Ports`.

    Raises:
        InputError: There is no such profile.
    """
    if name not in SERVERS:
        raise InputError(f"PROFILE is {name!r}; write one of: {', '.join(SERVERS)}")
    return SERVERS[name]


def build(name: str, ports: Ports) -> Profile:
    """Prepare a profile's folders and logins, and return the profile. No server is started.

    Raises:
        InputError: A program is missing, or a variable of the environment contradicts the profile.
    """
    if name == "default":
        return Profile()
    postgres_server.initialise()
    stores = (
        Store(postgres_server.component(ports.postgres), partial(postgres_server.is_ready, ports.postgres)),
        Store(s3_server.component(ports.s3), partial(s3_server.is_ready, ports.s3)),
        Store(spark_cluster.master(ports.spark), partial(spark_cluster.is_listening, ports.spark)),
    )
    return Profile(
        stores,
        (spark_cluster.worker(ports.spark, s3_server.variables(ports.s3)),),
        partial(postgres_server.create_databases, ports.postgres),
        postgres_variables(ports),
        {"MLFLOW_TRACKING_URI": postgres_server.address(ports.postgres, "mlflow")},
        f"s3://{s3_server.BUCKET}/mlflow",
    )


def postgres_variables(ports: Ports) -> dict[str, str]:
    """Return the addresses of the servers. Steps reach MLflow's database and artifacts through its server."""
    variables = {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres_server.address(ports.postgres, "airflow"),
        "UNDERCURRENT_CATALOG_URI": postgres_server.address(ports.postgres, "lake"),
        "UNDERCURRENT_WAREHOUSE": f"s3://{s3_server.BUCKET}/lake",
        "MLFLOW_TRACKING_URI": f"http://{LOOPBACK}:{ports.mlflow}",
        "MLFLOW_TRACKING_USERNAME": mlflow_web.USER,
        "MLFLOW_TRACKING_PASSWORD": mlflow_web.get_password(),
        **s3_server.variables(ports.s3),
        **spark_cluster.variables(ports.spark),
    }
    for name, value in variables.items():
        if os.environ.get(name, value) != value:
            raise InputError(f"{name} is set, but PROFILE=postgres sets it itself; unset it")
    return variables


def environment_file() -> Path:
    """Return the file that gives a shell the variables of the running profile."""
    return paths.home() / "profile" / "environment.sh"


def write_environment(profile: Profile) -> Path:
    """Write the variables and the ports to a private file that a shell can source, and return the file."""
    path = environment_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    values = {"UNDERCURRENT_HOME": str(paths.home()), **set_variables(), **profile.variables}
    with private_umask():
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
        path.write_text("".join(lines), encoding="utf-8")
    return path
