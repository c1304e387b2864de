"""The night on other executors: a pod's manifest as rendered, and what is installed for a cluster."""

from importlib import import_module
from pathlib import Path

import pytest
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from kubernetes.client import ApiClient, V1Pod

from core.paths import PROJECT_ROOT
from ops import airflow_home

# What the executor adds to the template.
COMMAND = {"spec": {"containers": [{"name": "base", "args": ["execute-workload"]}]}}


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
