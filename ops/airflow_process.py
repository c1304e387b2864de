"""`python -m ops.airflow_process …` runs an `airflow` command whose child processes end with it.

The workers of LocalExecutor wait for work from a pipe that they hold open themselves. So they would outlive
a scheduler that is killed with SIGKILL.
"""

import os
import runpy

from ops import process_group

if __name__ == "__main__":
    os.register_at_fork(after_in_child=process_group.die_with_parent)
    runpy.run_module("airflow", run_name="__main__", alter_sys=True)
