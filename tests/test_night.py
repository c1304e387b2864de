"""One toy night, end to end, through the real `dvc repro` in a copy of the project: nothing is replaced."""

import json
from datetime import date

import pytest

from core.records import LANDING_TYPES
from core.step_data import STEP_DATA
from core.step_graph import STEPS
from lake import landing
from tests.support.checkout import Checkout, check_out_project

NIGHT = "2026-03-05"
SMALL = {
    "night": NIGHT,
    "simulator.users": 40,
    "simulator.videos": 14,
    "simulator.history_days": 3,
    "simulator.nights": 2,
    "simulator.new_users_per_day": 2,
    "simulator.new_videos_per_day": 2,
    "simulator.outage_night": 0,
    "check.min_rows": 20,
    "check.max_reject_rate_per_reason": 0.9,
    "check.max_reject_rate": 0.9,
    "align.epochs": 2,
    "train.epochs": 2,
    "gate.min_users": 5,
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The project's files in an empty folder, a tiny simulated platform, and its night run once."""
    night = check_out_project(tmp_path_factory.mktemp("checkout"))
    night.set(SMALL)
    night("python", "-m", "simulator", "make")
    night("dvc", "repro")
    return night


@pytest.mark.timeout(900)
def test_every_step_leaves_its_run_manifest_and_the_report_is_written(checkout):
    assert set(checkout.started_at()) == set(STEPS)
    page = (checkout.folder / "night" / "report" / "report.html").read_text()
    assert NIGHT in page
    assert json.loads((checkout.folder / "night" / "gate" / "verdict.json").read_text())["night"] == NIGHT


def test_every_step_reads_and_writes_the_tables_that_are_listed(checkout):
    for step, data in STEP_DATA.items():
        run_manifest = checkout.run_manifest(step)
        assert set(run_manifest["reads"]) <= set(data.reads), step
        assert set(run_manifest["writes"]) <= set(data.writes), step


def test_nothing_is_lost_between_the_landing_files_and_the_interactions(checkout):
    ingested, cleaned = checkout.run_manifest("ingest"), checkout.run_manifest("clean")
    for run_manifest in (ingested, cleaned):
        rows = run_manifest["row_counts"]
        assert rows["rows_in"] == rows["kept"] + sum(rows["rejected"].values()) > 0
    root, until = checkout.folder / "var" / "landing", date.fromisoformat(NIGHT)
    landed = [
        record
        for landing_type in LANDING_TYPES.values()
        for day in landing.list_days(root, landing_type.name)
        if day <= until
        for path in landing.list_files(root, landing_type.name, day)
        for record in landing.read_records(path, landing_type)
    ]
    assert ingested["row_counts"]["rows_in"] == len(landed)
    assert len(cleaned["row_counts"]["rejected"]) >= 5  # the simulator corrupts logs in many ways


def test_a_second_repro_does_nothing(checkout):
    before = checkout.started_at()
    output = checkout("dvc", "repro").stdout
    assert "up to date" in output
    assert checkout.started_at() == before


@pytest.mark.timeout(900)
def test_dvc_promotes_and_records_only_on_request(checkout):
    assert checkout.run_manifest("promote")["facts"]["outcome"].startswith("left alone: run by DVC")
    assert checkout.run_manifest("record")["facts"]["outcome"].startswith("left alone: run by DVC")
    assert checkout.production().split("\n")[0] == "[]"
    assert not (checkout.folder / "var" / "record").exists()
    assert "left alone" in (checkout.folder / "night" / "report" / "report.html").read_text()
    checkout("dvc", "repro", "--force", "--single-item", "promote", "record", "report", promote=True)
    assert checkout.run_manifest("promote")["facts"]["version"] == "1"


@pytest.mark.timeout(900)
def test_a_recorded_night_is_reproduced_from_its_tag(checkout):
    tag = checkout("git", "-C", "var/record", "tag").stdout.split()
    assert tag == [f"night/{NIGHT}"]
    output = checkout("python", "-m", "undercurrent", "reproduce", "--night", NIGHT).stdout
    assert "DIFFERENT" not in output
    assert "night/train" in output


@pytest.mark.timeout(900)
def test_a_changed_parameter_reruns_only_what_depends_on_it(checkout):
    before = checkout.started_at()
    checkout.set({"gate.min_users": 6})
    checkout("dvc", "repro")
    after = checkout.started_at()
    repeated = {name for name in STEPS if after[name] != before[name]}
    assert repeated == {"gate", "promote", "record", "report"}


def test_a_rerun_night_is_a_new_revision_and_its_retry_is_not(checkout):
    git = ("git", "-C", "var/record")
    by_hand = ("--night", NIGHT, "--workspace", "night")
    checkout("python", "-m", "tasks.record", *by_hand)  # outside of DVC, a user asks for it
    first = checkout.run_manifest("record")["facts"]
    assert first["tag"] == f"night/{NIGHT}.2"
    checkout("python", "-m", "tasks.gate", *by_hand)  # the same again at another time
    checkout("python", "-m", "tasks.record", *by_hand)
    assert checkout.run_manifest("record")["facts"] == first
    tags = checkout(*git, "tag").stdout.split()
    assert tags == [f"night/{NIGHT}", f"night/{NIGHT}.2"]
    assert len({checkout(*git, "rev-parse", tag).stdout for tag in tags}) == 2


def test_a_night_that_was_never_recorded_cannot_be_reproduced(checkout):
    done = checkout("python", "-m", "undercurrent", "reproduce", "--night", "2020-01-01", succeed=False)
    assert done.returncode == 2
    assert "has no tag night/2020-01-01" in done.stderr
