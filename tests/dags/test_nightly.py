"""Parse the DAGs with Airflow in a separate process, without a database."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import pendulum
import pytest
from airflow.timetables.base import DagRunInfo, TimeRestriction
from airflow.timetables.trigger import CronPartitionTimetable
from airflow.utils.types import DagRunType

from core.paths import PROJECT_ROOT
from core.step_graph import STEPS


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    home = tmp_path_factory.mktemp("airflow")
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    completed = subprocess.run(
        [sys.executable, "-m", "tests.support.describe_dag", str(PROJECT_ROOT / "dags")],
        cwd=PROJECT_ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(completed.stdout.splitlines()[-1])


def test_every_file_of_the_dag_folder_parses(parsed: Mapping[str, Any]) -> None:
    assert parsed["errors"] == {}
    assert sorted(parsed["dags"]) == [
        "embed_backlog",
        "forget_user",
        "maintenance",
        "nightly",
        "weekly_ablation",
    ]


def test_parsing_is_fast_and_imports_no_heavy_package(parsed: Mapping[str, Any]) -> None:
    print(f"parsing dags/ took {parsed['seconds']:.3f} s beyond Airflow's own imports")
    heavy = {"torch", "pyspark", "pandas", "mlflow", "pyiceberg", "great_expectations", "av"}
    assert not heavy & set(parsed["modules"])
    assert {"ops", "core"} <= set(parsed["modules"])  # else the measurement would miss our modules
    assert parsed["seconds"] < 1.0


def test_tasks_and_edges_are_those_of_the_step_graph(parsed: Mapping[str, Any]) -> None:
    edges = {task["name"]: task["upstream"] for task in parsed["tasks"]["nightly"]}
    assert edges.pop("approval") == ["gate"]
    edges["promote"].remove("approval")  # which is no step: only Airflow can ask a person
    assert edges == {step: sorted(upstream) for step, upstream in STEPS.items()}


def test_every_task_has_owner_retries_timeout_and_doc(parsed: Mapping[str, Any]) -> None:
    for task in chain.from_iterable(parsed["tasks"].values()):
        assert task["owner"] not in ("", "airflow")
        assert task["retries"] >= 1
        assert task["name"] == "approval" or 0 < task["seconds"] <= 6 * 3600  # people take longer
        assert task["doc"].endswith(".")


@pytest.mark.parametrize(
    ("dag", "outcomes"),
    [
        ("nightly", ("refused", "blocked", "failed")),
        ("maintenance", ("refused", "failed")),
        ("forget_user", ("refused", "failed")),
        ("weekly_ablation", ("refused", "failed")),
        ("embed_backlog", ("refused", "failed")),
    ],
)
def test_every_dag_has_triage_notes_for_every_exit_code(
    parsed: Mapping[str, Any], dag: str, outcomes: tuple[str, ...]
) -> None:
    notes = parsed["dags"][dag]["doc_md"]
    for heading in ("What a failed run means", "Whether it can wait", "Where the logs are", "What to do"):
        assert f"**{heading}.**" in notes
    for outcome in outcomes:
        assert f": {outcome}: " in notes


def test_pools_are_declared_and_promotion_runs_alone(parsed: Mapping[str, Any]) -> None:
    pools = json.loads((PROJECT_ROOT / "ops" / "pools.json").read_text(encoding="utf-8"))
    used = {task["name"]: task["pool"] for task in chain.from_iterable(parsed["tasks"].values())}
    assert set(used.values()) <= {*pools, "default_pool"}
    assert used["promote"] == used["record"] == "promotion"
    assert pools["promotion"]["slots"] == 1


def test_one_run_every_night_without_catchup(parsed: Mapping[str, Any]) -> None:
    dag = parsed["dags"]["nightly"]
    assert dag["max_active_runs"] == 1
    assert dag["catchup"] is False
    schedule = dag["timetable"]["__var"]
    assert (schedule["expression"], schedule["timezone"]) == ("0 0 * * *", "Etc/GMT+2")  # 02:00 UTC
    assert (schedule["run_offset"], schedule["key_format"]) == (-1, "%Y-%m-%d")


@pytest.fixture
def timetable(parsed: Mapping[str, Any]) -> CronPartitionTimetable:
    """The timetable of the DAG, as the scheduler reads it."""
    return CronPartitionTimetable.deserialize(parsed["dags"]["nightly"]["timetable"]["__var"])


def test_backfill_schedule_and_form_mean_the_same_night(timetable: CronPartitionTimetable) -> None:
    """The first and the last day of a backfill are both included, and a typed key is the scheduled one."""
    bounds = datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 3, 11, tzinfo=UTC)
    backfilled = list(timetable.iter_partition_dagrun_infos(earliest=bounds[0], latest=bounds[1]))
    assert [info.partition_key for info in backfilled] == ["2026-03-10", "2026-03-11"]
    scheduled = timetable._get_partition_info(run_date=pendulum.datetime(2026, 3, 11, 2))
    assert scheduled == (backfilled[0].partition_date, "2026-03-10")
    assert timetable.resolve_partition_date("2026-03-10") == backfilled[0].partition_date


@pytest.mark.parametrize("run_type", [DagRunType.SCHEDULED, DagRunType.BACKFILL_JOB])
def test_the_id_of_a_run_of_airflow_holds_its_night_before_a_random_text(
    timetable: CronPartitionTimetable, run_type: DagRunType
) -> None:
    """What docs/how-to/backfill.md says."""
    start = pendulum.datetime(2026, 3, 10, 2)
    times = {"run_after": start, "data_interval": None}
    run_id = timetable.generate_run_id(run_type=run_type, partition_key="2026-03-10", **times)
    assert re.fullmatch(rf"{run_type}__2026-03-10T02:00:00\+00:00__2026-03-10__\w+", run_id)


def test_unpausing_a_dag_with_earlier_runs_starts_the_newest_ended_night_only(
    timetable: CronPartitionTimetable,
) -> None:
    """What docs/how-to/backfill.md warns of."""
    earlier = DagRunInfo(pendulum.datetime(2026, 3, 5, 2), None)
    info = timetable.next_dagrun_info_v2(
        last_dagrun_info=earlier, restriction=TimeRestriction(None, None, False)
    )
    assert info is not None
    assert timedelta(0) <= pendulum.now("UTC") - info.run_after < timedelta(days=1)


def test_the_two_halves_are_task_groups_of_the_graph(parsed: Mapping[str, Any]) -> None:
    groups = parsed["dags"]["nightly"]["task_group"]["children"]
    assert sorted(groups) == ["lake_half", "model_half"]


def test_published_tables_and_the_model_are_assets(parsed: Mapping[str, Any]) -> None:
    outlets = {task["name"]: task["outlets"] for task in parsed["tasks"]["nightly"] if task["outlets"]}
    assert outlets["check"] == ["undercurrent_interactions", "undercurrent_features"]
    assert outlets["promote"] == ["undercurrent_model"]


def test_a_retry_waits_longer_each_time(parsed: Mapping[str, Any]) -> None:
    assert all(task["backs_off"] for task in chain.from_iterable(parsed["tasks"].values()))


def test_maintenance_runs_every_day_and_one_run_at_a_time(parsed: Mapping[str, Any]) -> None:
    dag = parsed["dags"]["maintenance"]
    assert (dag["max_active_runs"], dag["catchup"]) == (1, False)
    assert dag["timetable"]["__var"]["expression"] == "0 12 * * *"
    assert [task["name"] for task in parsed["tasks"]["maintenance"]] == ["maintain"]


def test_the_backlog_is_embedded_in_mapped_shards(parsed: Mapping[str, Any]) -> None:
    tasks = {task["name"]: task["upstream"] for task in parsed["tasks"]["embed_backlog"]}
    assert tasks == {"list_shards": [], "embed": ["list_shards"]}


def test_users_are_forgotten_on_request_by_a_file_of_ids(parsed: Mapping[str, Any]) -> None:
    dag = parsed["dags"]["forget_user"]
    assert dag["max_active_runs"] == 1
    assert "null" in dag["timetable"]["__type"].lower()
    assert "user_ids" in json.dumps(dag["params"])
    assert [task["name"] for task in parsed["tasks"]["forget_user"]] == ["forget"]
