"""`python -m ops.airflow_setup` creates or migrates Airflow's database, and imports the pools.

One process runs both `airflow` commands, because it takes seconds to import Airflow.
"""

import sys

from airflow.__main__ import main as airflow

from core.paths import PROJECT_ROOT

COMMANDS = (("db", "migrate"), ("pools", "import", str(PROJECT_ROOT / "ops" / "pools.json")))


def main() -> None:
    """Run the commands. The first that fails ends the process."""
    for arguments in COMMANDS:
        sys.argv = ["airflow", *arguments]
        airflow()


if __name__ == "__main__":
    main()
