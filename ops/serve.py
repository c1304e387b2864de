"""`make up`: serve Airflow, MLflow and the nights' web pages until Ctrl-C or `make down`."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core import paths
from core.errors import DONE, FAILED, REFUSED_INPUT, InputError
from ops import airflow_home, airflow_server, components, mlflow_web, ports, profiles, up_lock
from ops.ports import LOOPBACK, Ports
from ops.profiles import Profile
from ops.scheduler_watch import SchedulerWatch
from ops.supervisor import Supervisor


def main(argv: Sequence[str] = ()) -> int:
    """Run the servers.

    Returns:
        the exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m ops.serve", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", default="default", help=" or ".join(profiles.SERVERS))
    profile = parser.parse_args(argv).profile
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return serve(profile, ports.from_environment())
    except InputError as error:
        print(f"up: refused: {paths.redact_credentials(str(error))}", file=sys.stderr)
        return REFUSED_INPUT
    except (RuntimeError, OSError) as error:  # a dead server, a full disk
        print(f"up: {paths.redact_credentials(str(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("up: stopped", file=sys.stderr)
        return DONE


def serve(profile_name: str, server_ports: Ports) -> int:
    """Start the servers, print their addresses and restart those that die, until interrupted.

    Raises:
        InputError: the servers of this home run already, a port is in use, or the profile cannot be used.
        ComponentDiedError: a server keeps dying.
        TimeoutError: a server was not ready in time.
    """
    names = profiles.servers(profile_name)
    up_lock.require_free()  # before the ports, which the other `make up` uses
    for name in names:
        ports.require_free(name, getattr(server_ports, name))
    with up_lock.hold():
        profile = profiles.build(profile_name, server_ports)
        os.environ |= profile.variables
        profiles.write_environment(profile)
        logs = airflow_home.folder() / "components"
        with _stores(profile, logs) as stores, _services(profile, server_ports, logs) as services:
            print(format_addresses(server_ports), file=sys.stderr)
            watch = SchedulerWatch(airflow_server.client(server_ports.airflow), services)
            while True:
                stores.restart_dead()
                services.restart_dead()
                watch.check()
                time.sleep(1)


@contextmanager
def _stores(profile: Profile, logs: Path) -> Iterator[Supervisor]:
    """Run the servers that the others need. They end last."""
    if profile.stores:
        print("up: starting PostgreSQL, S3 and Spark (about 20 s)", file=sys.stderr)
    with Supervisor([store.component for store in profile.stores], logs) as supervisor:
        for store in profile.stores:
            supervisor.wait_for(store.is_ready, store.component.name, profiles.START_SECONDS)
        profile.prepare()
        yield supervisor


@contextmanager
def _services(profile: Profile, server_ports: Ports, logs: Path) -> Iterator[Supervisor]:
    """Run Airflow, MLflow and the nights' web pages."""
    print("up: preparing Airflow's database (about 10 s)", file=sys.stderr)
    environment = airflow_home.build_environment(server_ports.airflow)
    airflow_home.initialise(environment, logs / "prepare.log")
    services = components.airflow_components(environment, server_ports.airflow)
    services += [
        components.triggerer(environment),
        components.mlflow_web(server_ports, profile.mlflow_variables, profile.mlflow_artifacts),
        components.night_web(server_ports),
        *profile.workers,
    ]
    print("up: starting Airflow and MLflow (about 30 s)", file=sys.stderr)
    with Supervisor(services, logs) as supervisor:
        airflow_server.wait_until_ready(airflow_server.client(server_ports.airflow), supervisor)
        yield supervisor


def format_addresses(server_ports: Ports) -> str:
    """Return the lines with addresses and logins."""
    return (
        f"up: Airflow          http://{LOOPBACK}:{server_ports.airflow}/dags/nightly "
        f"(user {airflow_home.USER}, password {airflow_home.get_password()})\n"
        f"up: MLflow           http://{LOOPBACK}:{server_ports.mlflow} "
        f"(user {mlflow_web.USER}, password {mlflow_web.get_password()})\n"
        f"up: nights' reports  http://{LOOPBACK}:{server_ports.pages}\n"
        f"up: logs             {airflow_home.folder() / 'components'}\n"
        f"up: in another shell source {profiles.environment_file()}\n"
        "up: press Ctrl-C, or run `make down`, to stop all servers"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
