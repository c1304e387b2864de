from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from core import paths
from core.config import RecordConfig
from registry.record_objects import delete_recorded_files
from registry.record_repository import locked_repository

ANN = RecordConfig(author_name="Ann", author_email="ann@example.com")


def _is_of_ann(file: IO[bytes]) -> bool:
    return b"of Ann" in file.read()


@pytest.fixture
def record(home: Path) -> Path:
    """A record with two nights: a folder of Parquet files each, one of them with the name."""
    folder = paths.record()
    with locked_repository(folder, ANN) as repository:
        for night, name in (("2026-03-01", "of Ann"), ("2026-03-02", "of Bob")):
            snapshot = folder / "night" / "snapshot"
            snapshot.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"name": [name]}), snapshot / "users.parquet")
            pq.write_table(pa.table({"name": ["shared"]}), snapshot / "videos.parquet")
            repository.dvc("add", "night/snapshot")
            repository.dvc("push")
            outs = yaml.safe_load((folder / "night" / "snapshot.dvc").read_text())["outs"]
            (folder / "dvc.lock").write_text(yaml.safe_dump({"stages": {"snapshot": {"outs": outs}}}))
            repository.git("add", "--all")
            repository.git("commit", "-m", night)
            repository.git("tag", f"night/{night}")
    return folder


def _objects(folder: Path) -> set[str]:
    return {path.parent.name + path.name for path in (folder / "files" / "md5").rglob("*") if path.is_file()}


def test_files_are_deleted_from_cache_and_store_and_their_nights_are_named(record):
    cache, store = record / ".dvc" / "cache", Path(paths.record_remote())
    before = _objects(cache)
    assert _objects(store) == before
    deleted, nights = delete_recorded_files(record, ANN, _is_of_ann)
    assert len(deleted) == 1
    assert nights == ["night/2026-03-01"]
    assert _objects(cache) == _objects(store) == before - set(deleted)
    assert delete_recorded_files(record, ANN, _is_of_ann) == ([], [])


def test_without_a_record_nothing_is_made(home):
    assert delete_recorded_files(paths.record(), ANN, _is_of_ann) == ([], [])
    assert not paths.record().exists()
