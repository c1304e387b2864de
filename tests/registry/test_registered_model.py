"""A registered version as its users find it in MLflow: runs, data set, card, example, and the server."""

import json
import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Run

from core.config import load_params
from core.errors import DONE, InputError
from core.paths import PROJECT_ROOT
from core.run_manifests import RunManifest, write_manifest
from registry import model_registry, tracking
from registry.model_card import MAX_CHARACTERS
from registry.model_registry import ModelRegistry
from registry.served_model import Recommender
from tasks import gate, promote
from tasks.record import project_files
from tests.support.command_line import undercurrent
from tests.support.processes import free_port
from tests.support.workspaces import sample_night

DAY = "2026-03-12"
CHAMPION = "models:/undercurrent@champion"
SERVE_SECONDS = 180


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an MLflow database with a champion, from a night that was trained and promoted."""
    folder = tmp_path_factory.mktemp("registered")
    params = load_params(PROJECT_ROOT / "params.yaml")
    night = sample_night(folder / "night", champion=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERCURRENT_HOME", str(folder / "home"))
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        run_id = tracking.log_run(DAY, {"epochs": 3}, [], {}, tracking.snapshot_dataset(night))
        manifest = RunManifest(facts={"mlflow_run": run_id})
        write_manifest(night.run_manifests, "train", manifest, {"night": DAY})
        gate.run(params.gate, night)
        promote.run(params.promote, night)
        yield uri


@pytest.fixture(autouse=True)
def mlflow_address(address: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)


@pytest.fixture
def runs(address: str) -> dict[str, Run]:
    """Part of the night -> its run."""
    client = MlflowClient(address)
    (experiment,) = (e for e in client.search_experiments() if e.name == "undercurrent")
    return {run.data.tags["part"]: run for run in client.search_runs([experiment.experiment_id])}


def test_training_and_baselines_are_runs_below_their_night(runs: dict[str, Run]) -> None:
    night = runs.pop("night")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {night.info.run_id}
    assert {"train", "popularity", "ease"} < set(runs)
    assert all(run.info.status == "FINISHED" for run in (night, *runs.values()))
    assert runs["train"].data.params == {"epochs": "3"}
    assert runs["train"].data.metrics["test_ndcg_at_10"] > runs["ease"].data.metrics["test_ndcg_at_10"]


def test_the_training_run_names_its_data_set(runs: dict[str, Run]) -> None:
    (used,) = runs["train"].inputs.dataset_inputs
    assert used.dataset.name == f"snapshot {DAY}"
    assert len(used.dataset.digest) == tracking.MAX_DIGEST_LENGTH
    assert json.loads(used.dataset.profile) == {"num_users": 60, "num_videos": 40}


def test_the_digest_of_the_data_set_follows_its_files(tmp_path: Path) -> None:
    night = sample_night(tmp_path)
    first = tracking.snapshot_dataset(night).dataset.digest
    assert tracking.snapshot_dataset(night).dataset.digest == first
    (night.workspace / "snapshot" / "catalogue.parquet").write_bytes(b"another")
    assert tracking.snapshot_dataset(night).dataset.digest != first


def test_the_version_is_described_by_its_model_card(address: str, runs: dict[str, Run]) -> None:
    version = MlflowClient(address).get_model_version_by_alias("undercurrent", "champion")
    for text in (f"# Model of the night {DAY}", "Promoted: NDCG@10", "| ease |", "60 users", "## Limits"):
        assert text in version.description
    assert len(version.description) < MAX_CHARACTERS
    card = mlflow.artifacts.load_text(f"runs:/{runs['train'].info.run_id}/model_card.md")
    assert card == version.description


def test_the_example_is_answered_and_has_real_videos(address: str) -> None:
    model = mlflow.pyfunc.load_model(CHAMPION)
    example = model.input_example
    assert example["video_ids"].tolist() == [["v000", "v001"], []]
    assert [len(row) for row in model.predict(example, params={"k": 3, "day": DAY})["video_ids"]] == [3, 3]


def test_the_champion_is_exported_with_its_catalogue(tmp_path: Path) -> None:
    assert undercurrent("export", "--champion", "--out", str(tmp_path)) == DONE
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["model"]["night"], manifest["model"]["version"]) == (DAY, "1")
    assert np.load(tmp_path / "items.npz")["video_ids"].tolist() == [f"v{i:03d}" for i in range(40)]


def test_mlflow_serves_the_champion(address: str, tmp_path: Path) -> None:
    """The command and the request are those of docs/how-to/use-the-champion.md."""
    port = free_port()
    command = ["mlflow", "models", "serve", "--model-uri", CHAMPION, "--env-manager", "local"]
    settings = {"MLFLOW_TRACKING_URI": address, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    settings["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], cwd=tmp_path, env=os.environ | settings
    )
    try:
        _wait_until_ready(server, f"http://127.0.0.1:{port}/ping")
        request = {"dataframe_split": {"columns": ["video_ids"], "data": [[["v001", "v002"]], [[]]]}}
        request["params"] = {"k": 3, "day": DAY}
        answer = requests.post(f"http://127.0.0.1:{port}/invocations", json=request, timeout=60)
    finally:
        server.terminate()
        server.wait(60)
    assert answer.status_code == 200, answer.text
    known, newcomer = answer.json()["predictions"]
    assert len(known["video_ids"]) == len(newcomer["scores"]) == 3
    assert not {"v001", "v002"} & set(known["video_ids"])


def _wait_until_ready(server: subprocess.Popen[Any], url: str) -> None:
    for _ in range(SERVE_SECONDS):
        assert server.poll() is None, "the server ended"
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(1)
    raise AssertionError(f"{url} does not answer")


class _Canary:
    """A pickle of it writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_planted_pickle_is_never_loaded(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    planted = pickle.dumps(_Canary(canary))
    pickle.loads(planted)
    canary.unlink()  # the plant works
    folder = Path(mlflow.artifacts.download_artifacts(CHAMPION, dst_path=str(tmp_path / "model")))
    weights = next(folder.rglob("model.safetensors"))
    for path in (weights, weights.with_name("model.json"), weights.with_name("features.safetensors")):
        original = path.read_bytes()
        path.write_bytes(planted)
        with pytest.raises(Exception, match=r"(?i)header|json|decode|utf"):
            mlflow.pyfunc.load_model(str(folder))
        path.write_bytes(original)
    assert mlflow.pyfunc.load_model(str(folder))
    assert not canary.exists()


def test_a_pickle_in_the_place_of_the_champion_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    planted = tmp_path / "planted"
    planted.write_bytes(pickle.dumps(_Canary(tmp_path / "canary")))
    fetch = model_registry._download_file

    def fetch_planted(registry: ModelRegistry, version: Any, name: str, folder: Path) -> None:
        fetch(registry, version, name, folder)
        (folder / name).write_bytes(planted.read_bytes())

    monkeypatch.setattr(model_registry, "_download_file", fetch_planted)
    with pytest.raises(InputError, match="its files differ from the registered model"):
        model_registry.fetch_compared_models(tmp_path, date(2026, 3, 13))
    assert not (tmp_path / "canary").exists()


def test_a_pickled_model_cannot_be_loaded_with_the_documented_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow.pyfunc.save_model(str(tmp_path / "pickled"), python_model=Recommender(), pip_requirements=[])
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    with pytest.raises(mlflow.MlflowException, match=r"(?i)pickle"):
        mlflow.pyfunc.load_model(str(tmp_path / "pickled"))


# torch reads its own files with `weights_only`, which builds tensors and runs no code. numpy refuses pickles.
PICKLE = re.compile(
    r"^\s*(import|from) (pickle|cloudpickle|joblib|dill|shelve|marshal)\b(?! import UnpicklingError$)"
    r"|\btorch\.load\((?!.*weights_only=True)|allow_pickle\s*=\s*True|weights_only\s*=\s*False",
    re.MULTILINE,
)


def test_no_code_of_the_project_loads_pickles() -> None:
    ours = [name for name in project_files() if name.endswith(".py") and not name.startswith("tests/")]
    assert len(ours) > 100
    assert [name for name in ours if PICKLE.search((PROJECT_ROOT / name).read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "code",
    ["import pickle", "    from joblib import load", "torch.load(path)", "np.load(p, allow_pickle=True)"],
)
def test_the_search_finds_pickles(code: str) -> None:
    assert PICKLE.search(f"import os\n{code}\n")
