"""The night on other executors: PostgreSQL with the LocalExecutor for real, a pod's manifest as rendered."""

import json
from importlib import import_module
from pathlib import Path

import pytest
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from kubernetes.client import ApiClient, V1Pod

from core.paths import PROJECT_ROOT
from ops import airflow_home, airflow_server, run_outcome
from ops.airflow_server import DAG_ID
from ops.watch_run import watch_run
from tests.support.postgres import create_database
from tests.support.processes import free_port

# What the executor adds to the template.
COMMAND = {"spec": {"containers": [{"name": "base", "args": ["execute-workload"]}]}}


def test_a_night_runs_on_postgres_and_reports_lineage(
    home: Path, postgres_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = create_database(postgres_uri, "airflow")
    events = tmp_path / "lineage.jsonl"
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", database)
    transport = json.dumps({"type": "file", "log_file_path": str(events), "append": True})
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", transport)
    with airflow_server.start(free_port()) as (api, supervisor):
        api.set_paused(DAG_ID, False)
        api.trigger_run(DAG_ID, "no-events", {}, partition_key="2026-03-09")
        assert watch_run(api, supervisor, DAG_ID, "no-events") == "failed"
        failure = run_outcome.find_failure(api, DAG_ID, "no-events")
    assert not (airflow_home.folder() / "airflow.db").exists()
    assert failure is not None
    assert failure.reason.startswith("ingest: refused: ")
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    ingest = {line["eventType"] for line in lines if line["job"]["name"] == "nightly.ingest"}
    assert {"START", "FAIL"} <= ingest


def test_the_pod_of_a_task_is_rendered_with_command_home_and_secret() -> None:
    template = PodGenerator.deserialize_model_file(str(PROJECT_ROOT / "ops" / "pod_template.yaml"))
    pod: V1Pod = PodGenerator.reconcile_pods(template, PodGenerator.deserialize_model_dict(COMMAND))
    manifest = ApiClient().sanitize_for_serialization(pod)
    container = manifest["spec"]["containers"][0]
    assert container["args"] == ["execute-workload"]
    assert {"name": "UNDERCURRENT_HOME", "value": "/opt/undercurrent/var"} in container["env"]
    assert container["envFrom"] == [{"secretRef": {"name": "undercurrent"}}]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in manifest["spec"]["volumes"]} == {"home"}
    assert manifest["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize(
    "name",
    [
        "airflow.providers.celery.executors.celery_executor.CeleryExecutor",
        "airflow.providers.cncf.kubernetes.executors.kubernetes_executor.KubernetesExecutor",
    ],
)
def test_the_executors_of_a_cluster_are_installed_and_set_by_the_environment(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _, class_name = name.rpartition(".")
    assert getattr(import_module(module), class_name)
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", name)
    assert airflow_home.build_environment(8080)["AIRFLOW__CORE__EXECUTOR"] == name
