"""The lake half with landing files, media and warehouse on a real S3 server."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.chaos.tcp_proxy import tcp_proxy
from core import paths
from core.errors import DONE, FAILED, REFUSED_INPUT
from core.hashing import hash_lines
from core.paths import PROJECT_ROOT
from core.run_manifests import read_manifest
from core.tables import TABLES
from lake.client import Lake
from tests.support.landing_files import DAY, at, event, land, small_platform
from tests.support.media_files import write_video
from tests.support.postgres import create_database
from tests.support.processes import free_port
from tests.support.s3_server import READER_KEYS

STEPS = ("ingest", "clean", "embed", "check", "sequences", "snapshot")
LENIENT_CHECK = {"min_rows": 10, "min_embedded_rate": 0.0}
# The rows of `landing_digests` depend on where the files are.
COMPARED_TABLES = sorted(TABLES.keys() - {"landing_digests"})


@dataclass(frozen=True)
class Platform:
    """A small platform. The environment says where its files are.

    Attributes:
        folder: the folder of its local files.
    """

    folder: Path

    def land(self) -> None:
        """Write its landing files, with one video file."""
        root = paths.landing()
        small_platform(root)
        video = {"video_id": "v0", "duration_ms": 10_000, "media_uri": "media/v0.mp4"}
        land(root, "videos", DAY, [video], "more.jsonl")
        media = write_video(self.folder / "v0.mp4").read_bytes()
        (root / "media").mkdir(parents=True, exist_ok=True)
        (root / "media" / "v0.mp4").write_bytes(media)
        raw = yaml.safe_load((PROJECT_ROOT / "params.yaml").read_text(encoding="utf-8"))
        raw["check"] |= LENIENT_CHECK
        (self.folder / "params.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")

    def run(self, *steps: str, server: str = "", table: str = "") -> subprocess.CompletedProcess[str]:
        """Run steps. The server of a process id is killed before the first commit of a table."""
        options = {"night": DAY, "workspace": self.folder / "night", "params": self.folder / "params.yaml"}
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        command = [
            sys.executable,
            "-m",
            "tests.support.run_steps",
            ",".join(steps),
            server,
            table,
            *arguments,
        ]
        return subprocess.run([*command, *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True)

    def digests(self, *steps: str) -> dict[str, Any]:
        """Return the digests of the outputs of steps, and of the rows of each table in any order."""
        manifests = self.folder / "night" / "run_manifests"
        lake = Lake()
        rows = {name: sorted(map(repr, lake.scan(name).to_pylist())) for name in COMPARED_TABLES}
        outputs = {step: read_manifest(manifests, step)["digests"] for step in steps}
        return outputs | {name: hash_lines(lines) for name, lines in rows.items()}


@pytest.fixture(scope="module")
def local_digests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The digests of the platform's night with all files on the local disk."""
    folder = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERCURRENT_HOME", str(folder / "home"))
        platform = Platform(folder)
        platform.land()
        done = platform.run(*STEPS)
        assert done.returncode == DONE, done.stderr[-3000:]
        return platform.digests(*STEPS)


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A platform with landing files and warehouse in the bucket of the test."""
    monkeypatch.setenv("UNDERCURRENT_LANDING", f"s3://bucket/{tmp_path.name}/landing")
    monkeypatch.setenv("UNDERCURRENT_WAREHOUSE", f"s3://bucket/{tmp_path.name}/lake")
    return Platform(tmp_path)


def _versions() -> dict[str, int | None]:
    lake = Lake()
    return {name: lake.version(name) for name in TABLES}


@pytest.mark.timeout(300)
def test_a_night_on_s3_and_postgres_has_the_digests_of_a_local_night(
    local_digests, platform, s3, postgres_uri, monkeypatch
):
    monkeypatch.setenv("UNDERCURRENT_CATALOG_URI", create_database(postgres_uri, "night_on_s3"))
    platform.land()
    done = platform.run(*STEPS)
    assert done.returncode == DONE, done.stderr[-3000:]
    assert platform.digests(*STEPS) == local_digests
    assert not list(paths.home().rglob("*.jsonl")) + list((paths.home() / "lake").rglob("*.parquet"))
    assert platform.run("ingest").returncode == DONE
    again = read_manifest(platform.folder / "night" / "run_manifests", "ingest")
    assert again["row_counts"]["rows_in"] == 0


@pytest.mark.timeout(300)
def test_a_step_whose_server_stops_commits_nothing_and_can_be_repeated(
    local_digests, platform, s3, s3_address, monkeypatch
):
    platform.land()
    server, port = int(s3_address["AWS_ENDPOINT_URL"].rpartition(":")[2]), free_port()
    for step, table in (("ingest", "events"), ("clean", "interactions")):
        with monkeypatch.context() as patch, tcp_proxy(server, port) as process_id:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            stopped = platform.run(step, server=process_id, table=table)
        assert stopped.returncode == FAILED, stopped.stderr
        assert "S3 does not answer" in stopped.stderr
        assert "Traceback" not in stopped.stderr
        assert Lake().scan(table).num_rows == 0
        assert platform.run(step).returncode == DONE
    digests = platform.digests("ingest", "clean")
    assert all(digests[name] == local_digests[name] for name in ("ingest", "clean", "events", "interactions"))


def test_wrong_credentials_are_one_sentence(platform, s3, monkeypatch):
    platform.land()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    done = platform.run("ingest")
    assert done.returncode == REFUSED_INPUT
    assert "S3 refuses access" in done.stderr
    assert "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_that_may_not_write_commits_nothing(platform, s3, monkeypatch):
    platform.land()
    assert platform.run("ingest").returncode == DONE
    versions = _versions()
    land(paths.landing(), "events", DAY, [event(9001, "u0", "v0", "view", at(DAY, 12))], "more.jsonl")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", READER_KEYS["accessKey"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", READER_KEYS["secretKey"])
        done = platform.run("ingest")
    assert done.returncode == REFUSED_INPUT
    assert "S3 refuses access" in done.stderr
    assert "Traceback" not in done.stderr
    assert _versions() == versions
