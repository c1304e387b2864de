"""Measure how much time parsing the DAG adds to importing Airflow alone.

A scheduler parses the DAG folder again and again, so importing the project must be cheap. Both variants run
in new processes by turns. The medians are compared.
"""

import argparse
import statistics
import subprocess
import sys

from tqdm import trange

from benchmarks.result import publish_result
from core.paths import PROJECT_ROOT

TIMING_CODE = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
AIRFLOW_IMPORT = "from airflow.sdk import DAG, BaseOperator, CronPartitionTimetable, Param"
DAG_IMPORT = f"{AIRFLOW_IMPORT}; import runpy; runpy.run_path('dags/nightly.py')"


def main() -> int:
    """Run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.dag_import", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=7, help="runs of each, after one warm-up (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/dag_import.json")
    args = parser.parse_args()
    pairs = [
        (time_statement(AIRFLOW_IMPORT), time_statement(DAG_IMPORT))
        for _ in trange(args.runs + 1, desc="dag_import", unit="pair")
    ]
    airflow, with_dag = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
    figures = {"beyond_airflow_under_1_s": with_dag - airflow < 1.0, "runs": args.runs}
    publish_result("dag_import", figures, {"dag_over_airflow_alone": round(with_dag / airflow, 3)}, args.keep)
    return 0


def time_statement(statement: str) -> float:
    """Return the seconds that a statement takes in a new process."""
    command = [sys.executable, "-c", TIMING_CODE.format(statement)]
    completed = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    return float(completed.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
