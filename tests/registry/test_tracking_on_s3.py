"""MLflow's artifacts and the store of the record on a real S3 server."""

import subprocess
import sys
from pathlib import Path

from mlflow import MlflowClient

from core.config import load_params
from core.paths import PROJECT_ROOT, record, record_remote
from registry.record_repository import locked_repository


def test_mlflow_stores_artifacts_on_s3(s3, s3_address, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3_address["AWS_ENDPOINT_URL"])
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    root = f"s3://bucket/{tmp_path.name}/mlflow"
    run_id = client.create_run(client.create_experiment("undercurrent", root)).info.run_id
    client.log_text(run_id, "content", "note.txt")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket="bucket", Prefix=tmp_path.name)["Contents"]]
    assert any(key.endswith("artifacts/note.txt") for key in keys)
    path = Path(client.download_artifacts(run_id, "note.txt", str(tmp_path)))
    assert path.read_text(encoding="utf-8") == "content"


def test_the_record_is_pushed_to_s3_and_pulled_into_a_clone(s3, tmp_path, monkeypatch):
    monkeypatch.setenv("UNDERCURRENT_RECORD_REMOTE", f"s3://bucket/{tmp_path.name}/record")
    params = load_params(PROJECT_ROOT / "params.yaml").record
    with locked_repository(record(), params) as repository:
        (record() / "data.txt").write_text("a night", encoding="utf-8")
        repository.dvc("add", "data.txt")
        repository.dvc("push")
        repository.git("add", "--all")
        repository.git("commit", "-m", "a night")
    stored = s3.list_objects_v2(Bucket="bucket", Prefix=f"{tmp_path.name}/record")["Contents"]
    assert [item["Size"] for item in stored] == [len("a night")]
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", str(record()), str(clone)], check=True, capture_output=True)
    pull = [sys.executable, "-m", "dvc", "pull", "--remote", "store"]
    subprocess.run(pull, cwd=clone, check=True, capture_output=True)
    assert (clone / "data.txt").read_text(encoding="utf-8") == "a night"
    assert record_remote().startswith("s3://")
