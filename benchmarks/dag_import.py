"""How long parsing the DAG takes beyond Airflow's own import: processes in turn, the median of each.

A scheduler parses the folder again and again, so what the DAG imports of ours must cost next to nothing.
"""

import argparse
import statistics
import subprocess
import sys

from tqdm import trange

from benchmarks.result import publish
from contracts.place import PROJECT

CLOCK = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
AIRFLOW = "from airflow.sdk import DAG, BaseOperator, CronPartitionTimetable, Param"
OURS = f"{AIRFLOW}; import runpy; runpy.run_path('dags/nightly.py')"


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dag_import", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=7, help="of each, after one that is not counted (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/dag_import.json")
    args = parser.parse_args()
    pairs = [(seconds(AIRFLOW), seconds(OURS)) for _ in trange(args.runs + 1, desc="dag_import", unit="pair")]
    airflow, both = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
    figures = {"beyond_airflow_under_1_s": both - airflow < 1.0, "runs": args.runs}
    publish("dag_import", figures, {"dag_over_airflow_alone": round(both / airflow, 3)}, args.keep)
    return 0


def seconds(statement: str) -> float:
    """Seconds that a statement takes in a new process."""
    line = [sys.executable, "-c", CLOCK.format(statement)]
    done = subprocess.run(line, cwd=PROJECT, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
