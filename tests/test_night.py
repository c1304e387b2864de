"""One toy night, end to end, through the real `dvc repro` in a copy of the project: nothing is replaced."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
import yaml

from contracts import landing
from contracts.place import PROJECT
from contracts.records import KINDS
from contracts.steps import STEPS
from tasks.record import project_files

NIGHT = "2026-03-05"
SMALL = {
    "night": NIGHT,
    "world.users": 40,
    "world.videos": 14,
    "world.history_days": 3,
    "world.nights": 2,
    "world.new_users_per_day": 2,
    "world.new_videos_per_day": 2,
    "world.outage_night": 0,
    "check.min_rows": 20,
    "check.max_one_reason": 0.9,
    "check.max_rejected": 0.9,
    "align.epochs": 2,
    "train.epochs": 2,
    "gate.min_users": 5,
}


PRODUCTION = """
from tasks.registry import Registry
models = Registry()
print([(v.number, sorted(v.tags.items())) for v in models.versions()])
print([(a, v and v.number) for a in ("champion", "challenger", "previous") for v in [models.holder(a)]])
"""


@dataclass(frozen=True)
class Checkout:
    """A copy of the project with small parameters, in which commands run as a person would type them."""

    folder: Path

    def __call__(
        self, *command: str, succeed: bool = True, asked: bool = False
    ) -> subprocess.CompletedProcess[str]:
        settings = ("UNDERCURRENT_", "MLFLOW_", "DVC_", "PYTHONDONTWRITEBYTECODE")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
        clean |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",  # a short job starts faster so
            **{f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        if asked:
            clean["UNDERCURRENT_PROMOTE"] = "yes"
        done = subprocess.run(command, cwd=self.folder, env=clean, capture_output=True, text=True)
        assert not succeed or done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done

    def set(self, changes: dict[str, object]) -> None:
        path = self.folder / "params.yaml"
        raw = yaml.safe_load(path.read_text())
        for dotted, value in changes.items():
            *sections, key = dotted.split(".")
            section = raw
            for name in sections:
                section = section[name]
            assert key in section, dotted
            section[key] = value
        path.write_text(yaml.safe_dump(raw))

    def receipt(self, step: str) -> dict:
        return json.loads((self.folder / "night" / "receipts" / f"{step}.json").read_text())

    def production(self) -> str:
        """What production reads: the registered versions with their tags and aliases, and the record."""
        told = self("python", "-c", PRODUCTION).stdout
        if (self.folder / "var" / "record").exists():
            told += self("git", "-C", "var/record", "show-ref").stdout
        return told

    def started(self) -> dict[str, str]:
        return {name: self.receipt(name)["started"] for name in STEPS}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The project's files in an empty folder, a tiny world, and its night run once."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in [*project_files(), ".dvc/config"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, folder / name)
    night = Checkout(folder)
    night("git", "init", "--quiet")
    night("git", "add", "--all")
    night("git", "commit", "--quiet", "--message", "as it is")
    night.set(SMALL)
    night("python", "-m", "world", "make")
    night("dvc", "repro")
    return night


@pytest.mark.timeout(900)
def test_every_step_leaves_its_receipt_and_the_page_is_written(checkout):
    assert set(checkout.started()) == set(STEPS)
    page = (checkout.folder / "night" / "report" / "report.html").read_text()
    assert NIGHT in page
    assert json.loads((checkout.folder / "night" / "gate" / "verdict.json").read_text())["night"] == NIGHT


def test_nothing_is_lost_between_the_landing_files_and_the_interactions(checkout):
    taken, cleaned = checkout.receipt("ingest"), checkout.receipt("clean")
    for receipt in (taken, cleaned):
        rows = receipt["rows"]
        assert rows["rows_in"] == rows["kept"] + sum(rows["rejected"].values()) > 0
    root, until = checkout.folder / "var" / "landing", date.fromisoformat(NIGHT)
    landed = [
        record
        for kind in KINDS.values()
        for day in landing.days(root, kind.name)
        if day <= until
        for path in landing.files(root, kind.name, day)
        for record in landing.read(path, kind)
    ]
    assert taken["rows"]["rows_in"] == len(landed)
    assert len(cleaned["rows"]["rejected"]) >= 5  # the demo world's logs are dirty in many ways


def test_a_second_repro_does_nothing(checkout):
    before = checkout.started()
    said = checkout("dvc", "repro").stdout
    assert "up to date" in said
    assert checkout.started() == before


@pytest.mark.timeout(900)
def test_dvc_promotes_and_records_only_when_asked(checkout):
    assert checkout.receipt("promote")["facts"]["outcome"].startswith("left alone: run by DVC")
    assert checkout.receipt("record")["facts"]["outcome"].startswith("left alone: run by DVC")
    assert checkout.production().split("\n")[0] == "[]"
    assert not (checkout.folder / "var" / "record").exists()
    assert "left alone" in (checkout.folder / "night" / "report" / "report.html").read_text()
    checkout("dvc", "repro", "--force", "--single-item", "promote", "record", "report", asked=True)
    assert checkout.receipt("promote")["facts"]["version"] == "1"


@pytest.mark.timeout(900)
def test_the_night_is_recorded_and_comes_out_the_same_from_its_tag(checkout):
    tag = checkout("git", "-C", "var/record", "tag").stdout.split()
    assert tag == [f"night/{NIGHT}"]
    said = checkout("python", "-m", "tasks.reproduce", "--night", NIGHT).stdout
    assert "DIFFERENT" not in said
    assert "night/train" in said


@pytest.mark.timeout(900)
def test_changing_one_parameter_runs_again_only_what_depends_on_it(checkout):
    before = checkout.started()
    checkout.set({"gate.min_users": 6})
    checkout("dvc", "repro")
    after = checkout.started()
    again = {name for name in STEPS if after[name] != before[name]}
    assert again == {"gate", "promote", "record", "report"}


def test_the_night_run_again_became_a_revision_and_its_retry_none(checkout):
    git = ("git", "-C", "var/record")
    checkout("python", "-m", "tasks.record", "--night", NIGHT)  # a person asks for it
    first = checkout.receipt("record")["facts"]
    assert first["tag"] == f"night/{NIGHT}.2"
    checkout("python", "-m", "tasks.gate", "--night", NIGHT)  # the same again at another time
    checkout("python", "-m", "tasks.record", "--night", NIGHT)
    assert checkout.receipt("record")["facts"] == first
    tags = checkout(*git, "tag").stdout.split()
    assert tags == [f"night/{NIGHT}", f"night/{NIGHT}.2"]
    assert len({checkout(*git, "rev-parse", tag).stdout for tag in tags}) == 2


def test_a_night_that_was_never_recorded_cannot_be_reproduced(checkout):
    done = checkout("python", "-m", "tasks.reproduce", "--night", "2020-01-01", succeed=False)
    assert done.returncode == 2
    assert "has no tag night/2020-01-01" in done.stderr


@pytest.mark.timeout(900)
def test_an_experiment_leaves_registry_and_record_as_they_are(checkout):
    before, was = checkout.production(), checkout.receipt("train")["digests"]
    checkout("dvc", "exp", "run", "-S", "train.epochs=1", "-S", "train.learning_rate=0.01")
    assert checkout.receipt("train")["digests"] != was
    assert checkout.receipt("promote")["facts"]["outcome"].startswith("left alone: run by DVC")
    assert "('1', " in before
    assert checkout.production() == before
