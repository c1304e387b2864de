"""The DAG as Airflow itself parses it: without a database, in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from contracts.place import PROJECT
from contracts.steps import STEPS


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    home = tmp_path_factory.mktemp("airflow")
    quiet = {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("describe.py")), str(PROJECT / "dags")],
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_folder_holds_the_nightly_dag_and_every_file_in_it_parses(parsed: Mapping[str, Any]) -> None:
    assert parsed["errors"] == {}
    assert list(parsed["dags"]) == ["nightly"]


def test_parsing_loads_neither_torch_nor_pyspark_and_takes_less_than_a_second(
    parsed: Mapping[str, Any],
) -> None:
    print(f"parsing dags/ took {parsed['seconds']:.3f} s beyond Airflow's own imports")
    heavy = {"torch", "pyspark", "pandas", "mlflow", "pyiceberg", "great_expectations", "av"}
    assert not heavy & set(parsed["modules"])
    assert {"ops", "contracts"} <= set(parsed["modules"])  # or nothing of ours was measured
    assert parsed["seconds"] < 1.0


def test_its_tasks_and_edges_are_the_steps_and_theirs(parsed: Mapping[str, Any]) -> None:
    edges = {task["name"]: task["upstream"] for task in parsed["tasks"]["nightly"]}
    assert edges == {step: sorted(upstream) for step, upstream in STEPS.items()}


def test_every_task_has_an_owner_retries_a_time_limit_and_a_doc(parsed: Mapping[str, Any]) -> None:
    for task in parsed["tasks"]["nightly"]:
        assert task["owner"] not in ("", "airflow")
        assert task["retries"] >= 1
        assert 0 < task["seconds"] <= 6 * 3600
        assert task["doc"].endswith(".")


def test_every_pool_is_declared_and_what_moves_a_pointer_runs_alone(parsed: Mapping[str, Any]) -> None:
    pools = json.loads((PROJECT / "ops" / "pools.json").read_text(encoding="utf-8"))
    used = {task["name"]: task["pool"] for task in parsed["tasks"]["nightly"]}
    assert set(used.values()) <= {*pools, "default_pool"}
    assert used["promote"] == used["record"] == "promotion"
    assert pools["promotion"]["slots"] == 1


def test_one_run_at_a_time_every_night_and_none_for_nights_long_past(parsed: Mapping[str, Any]) -> None:
    dag = parsed["dags"]["nightly"]
    assert dag["max_active_runs"] == 1
    assert dag["catchup"] is False
    schedule = dag["timetable"]["__var"]
    assert (schedule["expression"], schedule["timezone"]) == ("0 2 * * *", "UTC")
    assert (schedule["run_offset"], schedule["key_format"]) == (-1, "%Y-%m-%d")
