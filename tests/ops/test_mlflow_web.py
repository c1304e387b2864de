"""MLflow as `make up` starts it, tested over HTTP."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from mlflow import MlflowClient

from core import paths
from ops import components, mlflow_web, process_group, serve
from ops.ports import LOOPBACK, Ports
from tests.support.processes import free_port

ALIAS = "/api/2.0/mlflow/registered-models/alias"
ENDPOINTS = (
    ("POST", ALIAS),
    ("DELETE", ALIAS),
    ("GET", "/api/2.0/mlflow/registered-models/search"),
    ("POST", "/ajax-api/2.0/mlflow/experiments/search"),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/models/m/code/evil.py"),
    ("PUT", "/ajax-api/2.0/mlflow-artifacts/artifacts/1/models/m/code/evil.py"),
    ("POST", "/ajax-api/2.0/mlflow/upload-artifact?run_uuid=1&path=evil.py"),
    ("GET", "/get-artifact?run_uuid=1&path=MLmodel"),
    ("GET", "/model-versions/get-artifact?name=undercurrent&version=1&path=MLmodel"),
    ("POST", "/graphql"),
    ("POST", "/ajax-api/3.0/mlflow/assistant/message"),
    ("PUT", "/ajax-api/3.0/mlflow/assistant/config"),
    ("GET", "/ajax-api/3.0/mlflow/server-info"),
    ("POST", "/v1/traces"),
    ("POST", "/gateway/mlflow/v1/chat/completions"),
    ("GET", "/ajax-api/3.0/jobs/1"),
    ("GET", "/"),
    ("GET", "/static-files/index.html"),
    ("GET", "/health"),
    ("GET", "/health/../api/2.0/mlflow/experiments/search"),
    ("GET", "/version"),
    ("OPTIONS", "/api/2.0/mlflow/experiments/search"),
)


class Served(NamedTuple):
    """A running server."""

    address: str
    process: "subprocess.Popen[str]"
    home: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERCURRENT_HOME", str(folder))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/s3cret.db")
        ports = Ports(mlflow=free_port())
        component = components.mlflow_web(ports)
        with (folder / "log").open("w") as log:
            started = process_group.start(component.command, paths.PROJECT_ROOT, component.environment, log)
        address = f"http://{LOOPBACK}:{ports.mlflow}"
        try:
            _wait_until_up(address, started, folder / "log")
            yield Served(address, started, folder)
        finally:
            process_group.stop(started)


def _wait_until_up(address: str, started: "subprocess.Popen[str]", log: Path) -> None:
    for _ in range(240):
        try:
            requests.get(address, timeout=5)
            return
        except requests.ConnectionError:
            with pytest.raises(subprocess.TimeoutExpired):  # it is still starting
                started.wait(0.5)
    raise AssertionError(log.read_text())


@pytest.fixture
def login(served: Served, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.setenv("UNDERCURRENT_HOME", str(served.home))
    return mlflow_web.USER, mlflow_web.get_password()


def _request(address: str, method: str, path: str, **options: object) -> requests.Response:
    request = requests.Request(method, address, **options).prepare()
    request.url = address + path  # unchanged, because requests would simplify /health/../
    with requests.Session() as session:
        session.trust_env = False
        return session.send(request, timeout=30, allow_redirects=False)


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_every_endpoint_needs_the_login(served: Served, method: str, path: str) -> None:
    response = _request(served.address, method, path, data="{}" if method != "GET" else None)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic ")  # the browser then asks for the login


@pytest.mark.parametrize("wrong", [("admin", ""), ("admin", "admin"), ("", ""), ("ann", None), ("ä", "ö")])
def test_a_wrong_login_is_refused(served: Served, login: tuple[str, str], wrong: tuple) -> None:
    user, password = wrong[0], login[1] if wrong[1] is None else wrong[1]
    assert _request(served.address, "GET", "/", auth=(user.encode(), password.encode())).status_code == 401
    for words in ("", "Basic", "Basic !", f"Bearer {login[1]}"):
        assert _request(served.address, "GET", "/", headers={"Authorization": words}).status_code == 401


def test_pages_registry_and_artifacts_work_with_the_login(
    served: Served, login: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "<title>MLflow</title>" in _request(served.address, "GET", "/", auth=login).text
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", login[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", login[1])
    client = MlflowClient(served.address, served.address)
    run = client.create_run(client.create_experiment("e")).info
    client.log_text(run.run_id, "words", "a.txt")
    client.create_registered_model("m")
    client.create_model_version("m", run.artifact_uri, run.run_id)
    client.set_registered_model_alias("m", "champion", "1")
    assert client.get_model_version_by_alias("m", "champion").version in (1, "1")
    assert (
        _request(served.address, "GET", f"/get-artifact?run_uuid={run.run_id}&path=a.txt", auth=login).text
        == "words"
    )
    assert (paths.home() / "mlflow" / "artifacts").is_dir()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "10.evil.example", "127.0.0.1:1", "127.0.0.1"]
)
def test_another_host_is_refused_even_with_the_login(
    served: Served, login: tuple[str, str], host: str
) -> None:
    headers = {"Host": host.format(port=served.address.rpartition(":")[2])}
    assert _request(served.address, "GET", "/health", auth=login, headers=headers).status_code == 421


def test_requests_from_other_origins_are_refused(served: Served, login: tuple[str, str]) -> None:
    for origin, status in (
        ("http://localhost:1", 403),
        ("null", 403),
        ("http://evil.example", 403),
        (served.address, 200),
    ):
        response = _request(
            served.address, "POST", "/api/2.0/mlflow/experiments/search", auth=login,
            headers={"Origin": origin}, json={"max_results": 1},
        )  # fmt: skip
        assert response.status_code == status, origin


def test_a_websocket_needs_the_login_too(served: Served) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}  # fmt: skip
    assert _request(served.address, "GET", "/", headers=headers).status_code in (401, 403)


def test_passwords_are_in_private_files_only(served: Served, login: tuple) -> None:
    group = [
        p for p in Path("/proc").iterdir() if p.name.isdigit() and _process_group(p) == served.process.pid
    ]
    lines = b" ".join((process / "cmdline").read_bytes() for process in group)
    assert b"mlflow" in lines
    assert b"s3cret" not in lines
    assert login[1].encode() not in lines
    assert login[1] in serve.format_addresses(Ports())
    private = [path for path in (paths.home() / "mlflow").iterdir() if path.is_file()]
    assert [path.stat().st_mode & 0o777 for path in private if login[1] in path.read_text()] == [0o600]


def _process_group(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[2])
    except (FileNotFoundError, ProcessLookupError):
        return 0
