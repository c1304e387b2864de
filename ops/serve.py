"""`make up`: serve Airflow, MLflow and the nights' web pages until Ctrl-C."""

import signal
import sys
import time

from core import paths
from core.errors import DONE, FAILED, REFUSED_INPUT, InputError
from ops import airflow_home, components, mlflow_web, ports
from ops.airflow_api import AirflowClient
from ops.ports import LOOPBACK, Ports
from ops.supervisor import ComponentDiedError, Supervisor


def main() -> int:
    """Run the servers.

    Returns:
        the exit code.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return serve(ports.from_environment())
    except InputError as error:
        print(f"up: refused: {paths.redact_credentials(str(error))}", file=sys.stderr)
        return REFUSED_INPUT
    except (ComponentDiedError, TimeoutError, RuntimeError) as error:
        print(f"up: {paths.redact_credentials(str(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("up: stopped", file=sys.stderr)
        return DONE


def serve(server_ports: Ports) -> int:
    """Start the servers, print their addresses and restart those that die, until interrupted.

    Raises:
        InputError: a port is in use.
        ComponentDiedError: a server keeps dying.
        TimeoutError: Airflow was not ready in time.
    """
    for name, port in vars(server_ports).items():
        ports.require_free(name, port)
    print("up: preparing Airflow's database (about 10 s)", file=sys.stderr)
    environment = airflow_home.build_environment(server_ports.airflow)
    logs = airflow_home.folder() / "components"
    airflow_home.initialise(environment, logs / "prepare.log")
    services = components.airflow_components(environment, server_ports.airflow)
    services += [
        components.triggerer(environment),
        components.mlflow_web(server_ports),
        components.night_web(server_ports),
    ]
    api = AirflowClient(
        f"http://{LOOPBACK}:{server_ports.airflow}", airflow_home.USER, airflow_home.get_password()
    )
    print("up: starting Airflow and MLflow (about 30 s)", file=sys.stderr)
    with Supervisor(services, logs) as supervisor:
        supervisor.wait_for(api.is_healthy, "Airflow", timeout=180)
        print(format_addresses(server_ports), file=sys.stderr)
        while True:
            supervisor.restart_dead()
            time.sleep(1)


def format_addresses(server_ports: Ports) -> str:
    """Return the lines with addresses and logins."""
    return (
        f"up: Airflow          http://{LOOPBACK}:{server_ports.airflow}/dags/nightly "
        f"(user {airflow_home.USER}, password {airflow_home.get_password()})\n"
        f"up: MLflow           http://{LOOPBACK}:{server_ports.mlflow} "
        f"(user {mlflow_web.USER}, password {mlflow_web.get_password()})\n"
        f"up: nights' reports  http://{LOOPBACK}:{server_ports.pages}\n"
        f"up: logs             {airflow_home.folder() / 'components'}\n"
        "up: press Ctrl-C to stop all servers"
    )


if __name__ == "__main__":
    sys.exit(main())
