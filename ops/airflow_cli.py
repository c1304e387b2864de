"""`make airflow ARGS="dags list"`: Airflow's command line in the environment of this home."""

import os
import sys

from core import paths
from core.errors import REFUSED_INPUT, InputError
from ops import airflow_home, ports


def main(argv: list[str]) -> int:
    """Become the `airflow` command. The first call in a home creates Airflow's database.

    Returns:
        the exit code of a refused call.
    """
    try:
        environment = airflow_home.build_environment(ports.from_environment().airflow)
    except InputError as error:
        print(f"airflow: refused: {paths.redact_credentials(str(error))}", file=sys.stderr)
        return REFUSED_INPUT
    log = airflow_home.folder() / "components" / "prepare.log"
    if not log.exists():
        airflow_home.initialise(environment, log)
    command = airflow_home.airflow_command(*argv)
    return os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
