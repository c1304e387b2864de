"""Secrets of the environment appear in no output: all that the steps of a night leave is searched."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from core.errors import FAILED
from core.paths import PROJECT_ROOT
from core.pseudonyms import KEY_VARIABLE
from tests.support.landing_files import at, event, land
from tests.support.postgres import create_database
from tests.support.pseudonyms import private_params
from tests.support.workspaces import sample_night

STEPS = ("ingest", "gate", "promote", "record", "report")
NIGHT = date(2026, 3, 12)
PASSWORD, WEBHOOK_TOKEN = "pa55word-of-postgres", "t0ken-of-the-webhook"
PSEUDONYM_SECRET = "a-secret-key-of-the-pseudonyms-of-users"


@dataclass
class RemoteNight:
    """A night after `evaluate`, with its lake and MLflow on PostgreSQL, and its record on S3.

    Attributes:
        folder: Of the home and the workspace.
        s3: Client of the store with the record.
        databases: SQLAlchemy addresses.
        printed: All that the steps printed.
    """

    folder: Path
    s3: Any
    databases: list[str]
    printed: list[str] = field(default_factory=list)

    def run(self, step: str, **environment: str) -> int:
        options = {
            "night": NIGHT,
            "workspace": self.folder / "night",
            "params": private_params(self.folder),
        }
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        command = [sys.executable, "-m", f"tasks.{step}", *arguments]
        done = subprocess.run(
            command, cwd=PROJECT_ROOT, env=os.environ | environment, capture_output=True, text=True
        )
        self.printed += [done.stdout, done.stderr]
        return done.returncode

    def outputs(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of all that the steps left. The record's tests hold keys of their own."""
        yield "printed", "".join(self.printed).encode()
        tests = self.folder / "home" / "record" / "tests"
        for path in self.folder.rglob("*"):
            if path.is_file() and not path.is_relative_to(tests):
                yield str(path), path.read_bytes()
        git = ["git", "log", "--all", "--patch", "--", ".", ":(exclude)tests"]
        committed = subprocess.run(git, cwd=tests.parent, capture_output=True, check=True)
        yield "commits", committed.stdout
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket="bucket"):
            for item in page["Contents"]:
                body = self.s3.get_object(Bucket="bucket", Key=item["Key"])["Body"]
                yield f"s3 {item['Key']}", body.read()
        for address in self.databases:
            yield from _rows(address)


def _rows(address: str) -> Iterator[tuple[str, bytes]]:
    engine, metadata = sqlalchemy.create_engine(address), sqlalchemy.MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            yield f"table {table.name}", repr(connection.execute(table.select()).all()).encode()
    engine.dispose()


@pytest.fixture
def night(tmp_path: Path, s3: Any, postgres_uri: str, monkeypatch: pytest.MonkeyPatch) -> RemoteNight:
    databases = [
        create_database(postgres_uri, f"secrets_{name}").replace("test@", f"test:{PASSWORD}@")
        for name in ("lake", "mlflow")
    ]
    monkeypatch.setenv("UNDERCURRENT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("UNDERCURRENT_CATALOG_URI", databases[0])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", databases[1])
    monkeypatch.setenv("UNDERCURRENT_RECORD_REMOTE", "s3://bucket/record")
    monkeypatch.setenv(KEY_VARIABLE, PSEUDONYM_SECRET)
    monkeypatch.setenv("UNDERCURRENT_ALERT_WEBHOOK", f"https://hooks.example/{WEBHOOK_TOKEN}")
    land(tmp_path / "home" / "landing", "events", NIGHT, [event(1, "u1", "v1", "view", at(NIGHT, 8))])
    (sample_night(tmp_path / "night", NIGHT, champion=None).folder("check") / "results.json").write_text("{}")
    return RemoteNight(tmp_path, s3, databases)


def test_no_secret_is_in_any_output(night: RemoteNight) -> None:
    for step in STEPS:
        assert night.run(step) == 0, "".join(night.printed)
    unreachable = f"postgresql+psycopg://test:{PASSWORD}@127.0.0.1:1/lake"
    assert night.run("ingest", UNDERCURRENT_CATALOG_URI=unreachable) == FAILED
    outputs = dict(night.outputs())
    for text in ("artifacts/model_card.md", f"night/{NIGHT}", "127.0.0.1:1"):  # the search reaches all places
        assert any(text in name or text.encode() in content for name, content in outputs.items())
    secrets = (PASSWORD, WEBHOOK_TOKEN, PSEUDONYM_SECRET, os.environ["AWS_SECRET_ACCESS_KEY"])
    found = [
        (secret, name)
        for name, content in outputs.items()
        for secret in secrets
        if secret.encode() in content
    ]
    assert found == []
