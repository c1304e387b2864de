"""`make airflow ARGS="dags list"`: Airflow's command line in the environment of this home."""

import os
import sys

from core import paths
from core.errors import FAILED, REFUSED_INPUT, InputError
from ops import airflow_home, ports


def main(argv: list[str]) -> int:
    """Become the `airflow` command. The first call in a home creates Airflow's database.

    Returns:
        the exit code of a call that was refused or failed.
    """
    try:
        environment = airflow_home.build_environment(ports.from_environment().airflow)
        if not airflow_home.is_initialised():
            airflow_home.initialise(environment, airflow_home.folder() / "components" / "prepare.log")
    except InputError as error:
        print(f"airflow: refused: {paths.redact_credentials(str(error))}", file=sys.stderr)
        return REFUSED_INPUT
    except (RuntimeError, OSError) as error:  # an unreachable database, a full disk
        print(f"airflow: {paths.redact_credentials(str(error))}", file=sys.stderr)
        return FAILED
    command = airflow_home.airflow_command(*argv)
    return os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
