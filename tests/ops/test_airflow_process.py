import os
import subprocess
import sys
from pathlib import Path

import psutil

from core.paths import PROJECT_ROOT
from tests.support.processes import eventually

# An airflow whose worker waits for work on a pipe that it holds open itself, like one of LocalExecutor.
AIRFLOW = """
from multiprocessing import Process, SimpleQueue

worker = Process(target=SimpleQueue().get)
worker.start()
print(worker.pid, flush=True)
worker.join()
"""


def test_a_worker_ends_with_a_scheduler_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "__init__.py").touch()
    (tmp_path / "airflow" / "__main__.py").write_text(AIRFLOW)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{PROJECT_ROOT}"}
    command = [sys.executable, "-m", "ops.airflow_process", "scheduler"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    assert psutil.pid_exists(worker)
    process.kill()
    process.wait()
    assert eventually(lambda: not psutil.pid_exists(worker))
