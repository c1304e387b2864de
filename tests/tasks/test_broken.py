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

from contracts import step
from contracts.errors import FAILED, REFUSED_INPUT, AwayError, InputError
from contracts.params import load
from contracts.place import PROJECT, Night
from contracts.receipts import read_json, read_receipt
from tasks import gate, promote, registry, report, rollback, tracking
from tasks.pinned import Pinned
from tasks.saved import read_model
from tests.workspaces import DAY, sample_night

PARAMS = load(PROJECT / "params.yaml")
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
    with pytest.raises(what) as told:
        run()
    assert [word for word in words if word not in str(told.value)] == []
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_json_that_cannot_be_read_is_named_with_the_step_that_writes_it(text, night):
    for step_name, file in (("evaluate", "metrics.json"), ("snapshot", "manifest.json")):
        path = night.workspace / step_name / file
        whole = path.read_text()
        damage(path, text)
        for run in (lambda: gate.run(PARAMS.gate, night), lambda: report.run(PARAMS.report, night)):
            refused(InputError, run, str(path), f"tasks.{step_name}")
        path.write_text(whole)
    path = night.workspace / "gate" / "verdict.json"
    damage(path, text)
    for run in (lambda: promote.run(PARAMS.promote, night), lambda: report.run(PARAMS.report, night)):
        refused(InputError, run, str(path), "tasks.gate")
    damage(night.receipts / "train.json", text)
    refused(InputError, lambda: read_receipt(night.receipts, "train"), "train.json", "tasks.train")
    if text != JSON["list"]:
        damage(night.workspace / "train" / "curve.json", text)
        gate.run(PARAMS.gate, night)
        shutil.copy(night.receipts / "align.json", night.receipts / "train.json")
        refused(InputError, lambda: report.run(PARAMS.report, night), "curve.json", "tasks.train")


def test_a_manifest_as_an_older_version_wrote_it_is_refused_by_its_missing_key(night):
    path = night.workspace / "snapshot/manifest.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "incumbent"}))
    refused(InputError, lambda: gate.run(PARAMS.gate, night), "'incumbent' is missing", "tasks.snapshot")


MODELS = {
    "cut": lambda text: text[: len(text) // 2],
    "list": lambda text: "[]",
    "unknown key": lambda text: json.dumps(json.loads(text) | {"depth": 3}),
    "missing key": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "numbers"}),
    "wrong type": lambda text: json.dumps(json.loads(text) | {"width": "8"}),
    "null": lambda text: json.dumps(json.loads(text) | {"numbers": None}),
    "unknown model": lambda text: json.dumps(json.loads(text) | {"model": "gpt"}),
    "bytes": lambda text: "\udcff",
}


@pytest.mark.parametrize("change", MODELS.values(), ids=MODELS)
def test_a_damaged_description_of_a_model_is_refused(change, night):
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
    refused(InputError, lambda: Pinned(night).features, str(path), "tasks.snapshot")
    refused(InputError, lambda: gate.run(PARAMS.gate, night), str(path), "tasks.snapshot")
    path = night.workspace / "snapshot/catalogue.parquet"
    path.write_bytes(path.read_bytes()[:size])
    refused(InputError, lambda: Pinned(night).videos, str(path), "tasks.snapshot")


def test_a_model_without_weights_is_refused_by_promote(night):
    (night.workspace / "train/model.safetensors").unlink()
    refused(InputError, lambda: promote.run(PARAMS.promote, night), "model.safetensors is missing")


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> str:
    """An MLflow server that does not answer, and whose address holds a password."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://bob:sesame@127.0.0.1:9")
    return "sesame"


def test_a_server_that_is_away_is_one_sentence_without_the_password(away, night, tmp_path):
    for run in (
        lambda: promote.run(PARAMS.promote, night),
        lambda: registry.pin(tmp_path, DAY),
        lambda: rollback.rollback("1"),
        lambda: tracking.log_run("2026-03-12", {}, [], {}),
    ):
        told = refused(AwayError, run, "MLFLOW_TRACKING_URI", "http://***@127.0.0.1:9")
        assert away not in told


def test_a_server_that_is_away_is_exit_code_1_and_no_traceback(away, night, capsys):
    arguments = ["--night", str(night.day), "--workspace", str(night.workspace)]
    assert step.main("promote", promote.run, None, arguments) == FAILED
    assert rollback.main([]) == FAILED
    said = capsys.readouterr().err
    assert "promote: failed: MLFLOW_TRACKING_URI" in said
    assert "rollback: failed: MLFLOW_TRACKING_URI" in said
    assert away not in said
    assert "Traceback" not in said


def test_whoever_asks_a_server_that_is_away_does_not_hang(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code = "from tasks.registry import Registry; Registry().holder('champion')"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, timeout=60)
    assert done.returncode == 1


@pytest.mark.parametrize(
    "uri", ["nonsense://x", "ftp://bob:sesame@x/y", "htp//bad", "postgresql://u:sesame@h/db"]
)
def test_an_address_that_mlflow_does_not_know_is_refused(uri, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    told = refused(InputError, lambda: registry.pin(tmp_path, DAY), "MLFLOW_TRACKING_URI")
    assert "sesame" not in told


def test_a_database_in_a_folder_that_cannot_be_made_is_refused(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    refused(InputError, lambda: registry.pin(tmp_path, DAY), "MLFLOW_TRACKING_URI", "file/mlflow.db")


@pytest.fixture
def locked() -> Iterator[str]:
    """A server that lets nobody in."""

    class Locked(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401, "You are not authenticated")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Locked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://bob:sesame@127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_login_that_the_server_refuses_is_refused_input(locked, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", locked)
    told = refused(InputError, lambda: registry.pin(tmp_path, DAY), "MLFLOW_TRACKING_URI", "401")
    assert "sesame" not in told


def test_a_champion_whose_files_are_gone_says_every_way_out_and_blocks_no_rollback(night, home, tmp_path):
    promote.run(PARAMS.promote, night)
    later = date(2026, 3, 13)
    ways = ("version 1", "tasks.rollback --to", "alias")
    for file in ("model.json", "model.safetensors"):
        (path,) = (home / "mlflow" / "artifacts").rglob(file)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        refused(InputError, lambda: registry.pin(tmp_path, later), *ways, "not the model that was registered")
        path.unlink()
        refused(InputError, lambda: registry.pin(tmp_path, later), *ways, f"{file} is not")
        path.write_bytes(whole)
    assert registry.pin(tmp_path, later)["champion"] == "1"
    shutil.rmtree(home / "mlflow" / "artifacts")
    models = registry.Registry()
    models.mlflow.delete_registered_model_alias(models.name, "champion")
    assert registry.pin(tmp_path, later) == {"champion": None, "incumbent": None}
    assert rollback.main(["--to", "1"]) == 0


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ("404 Client Error: Not Found for url: http://u:sesame@h/x", InputError),
        ("An error occurred (404) when calling the HeadObject operation: Not Found", InputError),
        ("Could not connect to the endpoint URL: http://u:sesame@h/x", AwayError),
    ],
    ids=["server", "bucket", "away"],
)
def test_a_store_that_gives_no_file_of_the_champion_says_every_way_out(
    said, what, night, tmp_path, monkeypatch
):
    promote.run(PARAMS.promote, night)

    def fails(**_: object) -> None:
        raise MlflowException(f"The following failures occurred:\n##### File model.json #####\n{said}")

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", fails)
    told = refused(what, lambda: registry.pin(tmp_path, date(2026, 3, 13)), "tasks.rollback --to", "alias")
    assert "sesame" not in told


def test_the_command_line_refuses_a_broken_file_with_exit_code_2(night, capsys):
    damage(night.workspace / "gate/verdict.json", "{")
    arguments = ["--night", str(night.day), "--workspace", str(night.workspace)]
    assert step.main("promote", promote.run, None, arguments) == REFUSED_INPUT
    assert "cannot be read as JSON" in capsys.readouterr().err


def test_json_is_read_with_the_keys_that_are_needed(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')
    assert read_json(path, "", ("a",)) == {"a": 1}
    refused(InputError, lambda: read_json(path, "write it anew", ("b",)), "'b' is missing; write it anew")
