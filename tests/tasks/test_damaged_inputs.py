"""Files that are cut or damaged, and a registry that is away: one sentence each, with the way out."""

import http.server
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from core import step_cli
from core.config import load_params
from core.errors import FAILED, REFUSED_INPUT, InputError, ServiceUnavailableError
from core.paths import PROJECT_ROOT, Night
from core.run_manifests import read_json, read_manifest
from registry import model_registry, tracking
from snapshots.reader import SnapshotReader
from snapshots.saved_models import read_model
from tasks import gate, promote, report
from tests.support.command_line import undercurrent
from tests.support.workspaces import DAY, sample_night
from undercurrent import rollback

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
JSON = {"cut": '{"promote": tr', "bytes": "\udcff", "list": "[1]", "empty": "", "nested": "[" * 99_999}


@pytest.fixture
def night(tmp_path: Path) -> Night:
    night = sample_night(tmp_path / "night", champion=None)
    gate.run(PARAMS.gate, night)
    return night


def damage(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


def refused(what: type[Exception], run, *words: str) -> str:
    """The one sentence of a refusal, which holds these words."""
    with pytest.raises(what) as message:
        run()
    assert [word for word in words if word not in str(message.value)] == []
    assert "\n" not in str(message.value)
    return str(message.value)


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_unreadable_json_is_named_with_its_step(text, night):
    for step_name, file in (("evaluate", "details.json"), ("snapshot", "manifest.json")):
        path = night.workspace / step_name / file
        original = path.read_text()
        damage(path, text)
        for run in (lambda: gate.run(PARAMS.gate, night), lambda: report.run(PARAMS.report, night)):
            refused(InputError, run, str(path), f"tasks.{step_name}")
        path.write_text(original)
    path = night.workspace / "gate" / "verdict.json"
    damage(path, text)
    for run in (lambda: promote.run(PARAMS.promote, night), lambda: report.run(PARAMS.report, night)):
        refused(InputError, run, str(path), "tasks.gate")
    damage(night.run_manifests / "train.json", text)
    refused(InputError, lambda: read_manifest(night.run_manifests, "train"), "train.json", "tasks.train")
    if text != JSON["list"]:
        damage(night.workspace / "train" / "curve.json", text)
        gate.run(PARAMS.gate, night)
        shutil.copy(night.run_manifests / "align.json", night.run_manifests / "train.json")
        refused(InputError, lambda: report.run(PARAMS.report, night), "curve.json", "tasks.train")


def test_a_manifest_of_an_older_version_is_refused(night):
    path = night.workspace / "snapshot/manifest.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "incumbent"}))
    refused(InputError, lambda: gate.run(PARAMS.gate, night), "'incumbent' is missing", "tasks.snapshot")


MODELS = {
    "cut": lambda text: text[: len(text) // 2],
    "list": lambda text: "[]",
    "unknown key": lambda text: json.dumps(json.loads(text) | {"depth": 3}),
    "missing key": lambda text: json.dumps(
        {k: v for k, v in json.loads(text).items() if k != "user_numerical_features"}
    ),
    "wrong type": lambda text: json.dumps(json.loads(text) | {"width": "8"}),
    "null": lambda text: json.dumps(json.loads(text) | {"user_numerical_features": None}),
    "unknown model": lambda text: json.dumps(json.loads(text) | {"model": "gpt"}),
    "bytes": lambda text: "\udcff",
}


@pytest.mark.parametrize("change", MODELS.values(), ids=MODELS)
def test_a_damaged_model_config_is_refused(change, night):
    path = night.workspace / "train/model.json"
    damage(path, change(path.read_text()))
    refused(InputError, lambda: read_model(path.parent), str(path), "tasks.train")


@pytest.mark.parametrize("size", [0, 7, 300])
def test_damaged_weights_and_features_are_refused(size, night):
    path = night.workspace / "train/model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    refused(InputError, lambda: read_model(path.parent), str(path), "tasks.train")
    path = night.workspace / "snapshot/features.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    refused(InputError, lambda: SnapshotReader(night).features, str(path), "tasks.snapshot")
    refused(InputError, lambda: gate.run(PARAMS.gate, night), str(path), "tasks.snapshot")
    path = night.workspace / "snapshot/catalogue.parquet"
    path.write_bytes(path.read_bytes()[:size])
    refused(InputError, lambda: SnapshotReader(night).videos, str(path), "tasks.snapshot")


def test_a_model_without_weights_is_refused_by_promote(night):
    (night.workspace / "train/model.safetensors").unlink()
    refused(InputError, lambda: promote.run(PARAMS.promote, night), "model.safetensors is missing")


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> str:
    """An MLflow server that does not answer, and whose address holds a password."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:sesame@127.0.0.1:9")
    return "sesame"


def test_an_unavailable_server_is_one_sentence_without_the_password(away, night, tmp_path):
    for run in (
        lambda: promote.run(PARAMS.promote, night),
        lambda: model_registry.fetch_compared_models(tmp_path, DAY),
        lambda: rollback.roll_back("1"),
        lambda: tracking.log_run("2026-03-12", {}, [], {}),
    ):
        message = refused(ServiceUnavailableError, run, "MLFLOW_TRACKING_URI", "http://***@127.0.0.1:9")
        assert away not in message
        assert "127.0.0.1:9: [Errno 111] Connection refused; start it" in message


def test_an_unavailable_server_is_exit_code_1(away, night, capsys):
    arguments = ["--night", str(night.day), "--workspace", str(night.workspace)]
    assert step_cli.main("promote", promote.run, None, arguments) == FAILED
    assert undercurrent("rollback") == FAILED
    text = capsys.readouterr().err
    assert "promote: failed: MLFLOW_TRACKING_URI" in text
    assert "rollback: failed: MLFLOW_TRACKING_URI" in text
    assert away not in text
    assert "Traceback" not in text


def test_an_unavailable_server_does_not_hang(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code = "from registry.model_registry import ModelRegistry; ModelRegistry().get_by_alias('champion')"
    completed = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, timeout=60
    )
    assert completed.returncode == 1


@pytest.mark.parametrize("uri", ["nonsense://x", "ftp://bob:sesame@x/y", "htp//bad", "mysql://u:sesame@h/db"])
def test_an_unknown_mlflow_address_is_refused(uri, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    message = refused(
        InputError, lambda: model_registry.fetch_compared_models(tmp_path, DAY), "MLFLOW_TRACKING_URI"
    )
    assert "sesame" not in message


def test_a_database_in_an_impossible_folder_is_refused(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    refused(
        InputError,
        lambda: model_registry.fetch_compared_models(tmp_path, DAY),
        "MLFLOW_TRACKING_URI",
        "file/mlflow.db",
    )


@pytest.fixture
def locked() -> Iterator[str]:
    """A server that refuses every login."""

    class Locked(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401, "You are not authenticated")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Locked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://bob:sesame@127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_refused_login_is_refused_input(locked, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", locked)
    message = refused(
        InputError, lambda: model_registry.fetch_compared_models(tmp_path, DAY), "MLFLOW_TRACKING_URI", "401"
    )
    assert "sesame" not in message


def test_missing_champion_files_name_every_remedy(night, home, tmp_path):
    promote.run(PARAMS.promote, night)
    later = date(2026, 3, 13)
    remedies = ("version 1", "undercurrent rollback --to", "alias")
    for file in ("model.json", "model.safetensors"):
        (path,) = (home / "mlflow" / "artifacts").rglob(file)
        original = path.read_bytes()
        path.write_bytes(original[:-1])
        refused(
            InputError,
            lambda: model_registry.fetch_compared_models(tmp_path, later),
            *remedies,
            "its files differ from the registered model",
        )
        path.unlink()
        refused(
            InputError,
            lambda: model_registry.fetch_compared_models(tmp_path, later),
            *remedies,
            f"{file} is not",
        )
        path.write_bytes(original)
    assert model_registry.fetch_compared_models(tmp_path, later)["champion"] == "1"
    shutil.rmtree(home / "mlflow" / "artifacts")
    models = model_registry.ModelRegistry()
    models.client.delete_registered_model_alias(models.name, "champion")
    assert model_registry.fetch_compared_models(tmp_path, later) == {"champion": None, "incumbent": None}
    assert undercurrent("rollback", "--to", "1") == 0


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("404 Client Error: Not Found for url: http://u:sesame@h/x", InputError),
        ("An error occurred (404) when calling the HeadObject operation: Not Found", InputError),
        ("Could not connect to the endpoint URL: http://u:sesame@h/x", ServiceUnavailableError),
    ],
    ids=["server", "bucket", "away"],
)
def test_a_failing_artifact_store_names_every_remedy(text, what, night, tmp_path, monkeypatch):
    promote.run(PARAMS.promote, night)

    def fails(**_: object) -> None:
        raise MlflowException(f"The following failures occurred:\n##### File model.json #####\n{text}")

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", fails)
    message = refused(
        what,
        lambda: model_registry.fetch_compared_models(tmp_path, date(2026, 3, 13)),
        "undercurrent rollback --to",
        "alias",
    )
    assert "sesame" not in message


def test_a_broken_file_is_exit_code_2(night, capsys):
    damage(night.workspace / "gate/verdict.json", "{")
    arguments = ["--night", str(night.day), "--workspace", str(night.workspace)]
    assert step_cli.main("promote", promote.run, None, arguments) == REFUSED_INPUT
    assert "cannot be read as JSON" in capsys.readouterr().err


def test_required_json_keys(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')
    assert read_json(path, "", ("a",)) == {"a": 1}
    refused(InputError, lambda: read_json(path, "write it anew", ("b",)), "'b' is missing; write it anew")
