"""`make up`: Airflow, MLflow and the nights' pages to click through, until Ctrl-C."""

import signal
import sys
import time

from contracts import place
from contracts.errors import DONE, FAILED, REFUSED_INPUT, InputError
from ops import airflow_home, components, mlflow_pages, ports
from ops.airflow_api import AirflowApi
from ops.ports import LOOPBACK, Ports
from ops.supervisor import ComponentDiedError, Supervisor


def main() -> int:
    """Start everything, say where it is, keep it running."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(ports.from_environment())
    except InputError as error:
        print(f"up: refused: {place.without_credentials(str(error))}", file=sys.stderr)
        return REFUSED_INPUT
    except (ComponentDiedError, TimeoutError, RuntimeError) as error:
        print(f"up: {place.without_credentials(str(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("up: ended", file=sys.stderr)
        return DONE


def run(where: Ports) -> int:
    """Serve until interrupted.

    Raises:
        InputError: a port is in use.
        ComponentDiedError: a component keeps dying.
    """
    for name, port in vars(where).items():
        ports.require_free(name, port)
    print("up: preparing Airflow's database (some 10 s)", file=sys.stderr)
    environment = airflow_home.environment(where.airflow)
    logs = airflow_home.folder() / "components"
    airflow_home.prepare(environment, logs / "prepare.log")
    parts = components.airflow_parts(environment, where.airflow)
    parts += [
        components.triggerer(environment),
        components.mlflow_pages(where),
        components.night_pages(where),
    ]
    api = AirflowApi(f"http://{LOOPBACK}:{where.airflow}", airflow_home.USER, airflow_home.password())
    print("up: starting Airflow and MLflow (some 30 s)", file=sys.stderr)
    with Supervisor(parts, logs) as supervisor:
        supervisor.wait_for(api.healthy, "Airflow", patience=180)
        print(where_to_look(where), file=sys.stderr)
        while True:
            supervisor.watch()
            time.sleep(1)


def where_to_look(where: Ports) -> str:
    """The addresses and logins."""
    return (
        f"up: Airflow           http://{LOOPBACK}:{where.airflow}/dags/nightly "
        f"(user {airflow_home.USER}, password {airflow_home.password()})\n"
        f"up: MLflow            http://{LOOPBACK}:{where.mlflow} "
        f"(user {mlflow_pages.USER}, password {mlflow_pages.password()})\n"
        f"up: reports and data  http://{LOOPBACK}:{where.pages}\n"
        f"up: Ctrl-C ends all of them; their logs are in {airflow_home.folder() / 'components'}"
    )


if __name__ == "__main__":
    sys.exit(main())
