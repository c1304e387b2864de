"""The files in deploy/, without a container engine: they agree with each other, the chart and the code."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.paths import PROJECT_ROOT
from ops import postgres_server, s3_server
from ops.ports import Ports
from undercurrent.doctor import VARIABLES

DEPLOY = PROJECT_ROOT / "deploy"
VARIABLE = re.compile(r"\$\{(\w+)(?::\?[^}]*)?\}")
# What the chart documents, of all its keys: https://airflow.apache.org/docs/helm-chart/1.22.0/parameters-ref.html
# `config` takes any section and option of Airflow.
CHART_KEYS = {
    "airflowVersion", "apiSecretKeySecretName", "createUserJob.defaultUser.enabled",
    "data.metadataSecretName", "env", "executor", "extraEnvFrom", "fernetKeySecretName", "gid",
    "images.airflow.pullPolicy", "images.airflow.repository", "images.airflow.tag", "jwtSecretName",
    "logs.persistence.enabled", "postgresql.enabled", "uid", "volumeMounts", "volumes", "workers.resources",
}  # fmt: skip
SERVICE_KEYS = {
    "build", "command", "configs", "depends_on", "environment", "healthcheck", "image", "init", "ports",
    "restart", "volumes",
}  # fmt: skip


def read(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(read("compose.yaml"))["services"]


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return yaml.safe_load(read("airflow-values.yaml"))


def instructions() -> list[list[str]]:
    """The instructions of the Dockerfile, split into words."""
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", read("Dockerfile"))).splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


def test_the_image_copies_files_that_exist_and_runs_without_root() -> None:
    words = instructions()
    assert [line[0] for line in words].count("FROM") == 2
    copied = [line[1:-1] for line in words if line[0] == "COPY" and not line[1].startswith("--from")]
    assert all((PROJECT_ROOT / source).exists() for sources in copied for source in sources)
    assert words[-1] == ["USER", "50000:0"]


def test_the_image_is_built_like_the_environment_of_a_machine() -> None:
    setup = (PROJECT_ROOT / "scripts" / "setup.sh").read_text(encoding="utf-8")
    dockerfile = read("Dockerfile")
    for part in ("uv sync --frozen", "'uv>=0.9,<1'", "openjdk-17-jre-headless", "UV_PYTHON_DOWNLOADS=never"):
        assert part.replace("uv sync", "sync") in setup
        assert part in dockerfile
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(re.findall(r"--extra (\w+)", dockerfile))
    assert extras == {"airflow", "cluster", "spark", "train"} <= set(project["optional-dependencies"])
    assert f"python:{project['requires-python'].removeprefix('==').removesuffix('.*')}-slim" in dockerfile


def test_every_variable_of_the_deployment_is_one_of_the_code(
    services: dict[str, dict[str, Any]], values: dict[str, Any]
) -> None:
    text = read("Dockerfile") + read("compose.yaml") + read("airflow-values.yaml")
    assert set(re.findall(r"\bUNDERCURRENT_\w+", text)) <= VARIABLES


def test_services_have_known_keys_and_wait_for_services_that_exist(
    services: dict[str, dict[str, Any]],
) -> None:
    document = yaml.safe_load(read("compose.yaml"))
    for name, service in services.items():
        assert set(service) <= SERVICE_KEYS, name
        assert set(service.get("depends_on", [])) <= set(services)
        named = [volume.partition(":")[0] for volume in service.get("volumes", [])]
        assert all((DEPLOY / v).exists() if v.startswith(".") else v in document["volumes"] for v in named)
        assert {config["source"] for config in service.get("configs", [])} <= set(document["configs"])
        for option, value in service.get("build", {}).items():
            base = DEPLOY if option == "context" else PROJECT_ROOT
            assert (base / value).exists()


def test_the_services_are_the_servers_of_the_profile(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {
        *("api-server", "scheduler", "dag-processor", "triggerer", "init"),
        *("postgres", "s3", "mlflow", "spark-master", "spark-worker"),
    }
    scheduler = services["scheduler"]["environment"]
    assert scheduler["UNDERCURRENT_WAREHOUSE"].startswith(f"s3://{s3_server.BUCKET}/")
    assert scheduler["UNDERCURRENT_SPARK_MASTER"] == f"spark://spark-master:{Ports.spark}"
    created = re.findall(r"CREATE DATABASE (\w+);", read("postgres-init.sql"))
    assert tuple(created) == postgres_server.DATABASES


def test_ports_are_published_on_loopback_only(services: dict[str, dict[str, Any]]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_modules_of_the_services_exist(services: dict[str, dict[str, Any]]) -> None:
    commands = [" ".join(service.get("command", [])) for service in services.values()]
    modules = set(re.findall(r"python -m ([\w.]+)", " ".join(commands)))
    assert modules == {"ops.airflow_cli", "ops.mlflow_web"}
    assert all((PROJECT_ROOT / f"{module.replace('.', '/')}.py").exists() for module in modules)


def test_the_generated_passwords_are_those_of_compose_and_are_private(tmp_path: Path) -> None:
    script = shutil.copy(DEPLOY / "init-env.sh", tmp_path)
    subprocess.run([script], check=True, env={"PATH": os.environ["PATH"]}, capture_output=True)
    path = tmp_path / ".env"
    lines = dict(line.split("=") for line in path.read_text().splitlines())
    assert set(lines) == set(VARIABLE.findall(read("compose.yaml")))
    assert all(re.fullmatch("[0-9a-f]{20,}", value) for value in lines.values())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    subprocess.run([script], check=True, env={"PATH": os.environ["PATH"]}, capture_output=True)
    assert dict(line.split("=") for line in path.read_text().splitlines()) == lines


def test_a_password_of_a_newer_version_is_added_to_an_older_file(tmp_path: Path) -> None:
    script = shutil.copy(DEPLOY / "init-env.sh", tmp_path)
    path = tmp_path / ".env"
    path.write_text("POSTGRES_PASSWORD=kept\n")
    subprocess.run([script], check=True, env={"PATH": os.environ["PATH"]}, capture_output=True)
    lines = dict(line.split("=") for line in path.read_text().splitlines())
    assert lines["POSTGRES_PASSWORD"] == "kept"
    assert set(lines) == set(VARIABLE.findall(read("compose.yaml")))


def test_the_users_of_s3_are_valid_json() -> None:
    content = yaml.safe_load(read("compose.yaml"))["configs"]["s3_users"]["content"]
    identity = json.loads(VARIABLE.sub("secret", content))["identities"][0]
    assert identity["credentials"] == [{"accessKey": "secret", "secretKey": "secret"}]


def test_the_values_use_only_keys_of_the_chart(values: dict[str, Any]) -> None:
    def keys(value: Any, path: str) -> set[str]:
        if not isinstance(value, dict) or path in CHART_KEYS:
            return {path}
        return set().union(*(keys(v, f"{path}.{k}".lstrip(".")) for k, v in value.items()))

    assert keys({k: v for k, v in values.items() if k != "config"}, "") <= CHART_KEYS


def test_the_chart_and_the_pod_template_agree(values: dict[str, Any]) -> None:
    pod = yaml.safe_load((PROJECT_ROOT / "ops" / "pod_template.yaml").read_text(encoding="utf-8"))["spec"]
    container = pod["containers"][0]
    assert "{repository}:{tag}".format(**values["images"]["airflow"]) == container["image"]
    assert yaml.safe_load(values["extraEnvFrom"]) == container["envFrom"]
    assert values["volumes"][0] == pod["volumes"][0]
    assert values["volumeMounts"][0] == container["volumeMounts"][0]
    assert container["env"][0] in values["env"]
    assert values["uid"] == pod["securityContext"]["runAsUser"]


def test_no_secret_is_in_the_files() -> None:
    text = read("airflow-values.yaml") + read("compose.yaml")
    secrets = re.findall(r"(?im)^\s*\w*(?:password|secret_key|secret_access_key)\w*:\s*(\S+)", text)
    assert secrets
    assert all(value.startswith(("${", "/")) for value in secrets)
