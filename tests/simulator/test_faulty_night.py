import json
import shutil
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core.errors import InputError
from core.records import LANDING_TYPES, RecordRejected
from lake import landing as contract
from simulator.faulty_night import corrupt_night, repair_night
from tests.support.simulated_platforms import SimulatedPlatform

NIGHT = date(2026, 3, 3)


@pytest.fixture
def copy(tiny: SimulatedPlatform, tmp_path: Path) -> SimulatedPlatform:
    """A copy of the tiny platform that tests may corrupt."""
    landing, ground_truth = tmp_path / "landing", tmp_path / "ground_truth"
    shutil.copytree(tiny.landing, landing, ignore=shutil.ignore_patterns("*.mp4"))
    shutil.copytree(tiny.ground_truth, ground_truth)
    return SimulatedPlatform(landing, ground_truth, tiny.counts)


def _rows(landing: Path) -> list:
    """Return the night's events as the pipeline ingests them."""
    files = contract.list_files(landing, "events", NIGHT)
    return [row for path in files for _, _, row in contract.read_records(path, LANDING_TYPES["events"])]


def test_half_of_the_events_of_a_corrupted_night_have_no_user(copy: SimulatedPlatform):
    before = _rows(copy.landing)
    num_corrupted = corrupt_night(copy.landing, copy.ground_truth, NIGHT, seed=3)
    after = _rows(copy.landing)
    assert len(after) == len(before)
    missing = sum(not isinstance(row, RecordRejected) and row["user_id"] is None for row in after)
    assert 0.45 < num_corrupted / len(after) <= 0.5
    assert missing >= 0.45 * len(after)


def test_repairing_restores_the_original_bytes(copy: SimulatedPlatform):
    path = copy.landing / f"events/dt={NIGHT}/events.jsonl"
    original = path.read_bytes()
    corrupt_night(copy.landing, copy.ground_truth, NIGHT, seed=3)
    assert path.read_bytes() != original
    repair_night(copy.landing, NIGHT)
    assert path.read_bytes() == original
    assert len(list(path.parent.glob("_*"))) == 0


def test_the_ground_truth_lists_the_lines_without_user(copy: SimulatedPlatform):
    path = copy.landing / f"events/dt={NIGHT}/events.jsonl"
    original = path.read_bytes().splitlines()
    num_corrupted = corrupt_night(copy.landing, copy.ground_truth, NIGHT, seed=3)
    rows = pq.read_table(copy.ground_truth / f"faulty-night-{NIGHT}.parquet").to_pylist()
    assert len(rows) == num_corrupted
    corrupted = path.read_bytes().splitlines()
    for row in rows:
        before, after = (json.loads(lines[row["line"] - 1]) for lines in (original, corrupted))
        assert before["user_id"]
        assert after == before | {"user_id": None}


def test_corruption_is_deterministic(copy: SimulatedPlatform, tmp_path: Path):
    path = copy.landing / f"events/dt={NIGHT}/events.jsonl"
    corrupt_night(copy.landing, copy.ground_truth, NIGHT, seed=3)
    first = path.read_bytes()
    repair_night(copy.landing, NIGHT)
    corrupt_night(copy.landing, copy.ground_truth, NIGHT, seed=3)
    assert path.read_bytes() == first


def test_wrong_nights_are_refused(copy: SimulatedPlatform):
    with pytest.raises(InputError, match="is not a night of a simulation"):
        corrupt_night(copy.landing, copy.ground_truth, date(2020, 1, 1), seed=3)
    with pytest.raises(InputError, match="is not corrupted"):
        repair_night(copy.landing, NIGHT)
    corrupt_night(copy.landing, copy.ground_truth, NIGHT, seed=3)
    with pytest.raises(InputError, match="is corrupted already"):
        corrupt_night(copy.landing, copy.ground_truth, NIGHT, seed=3)


def test_real_input_is_never_corrupted(copy: SimulatedPlatform):
    (copy.landing / "SYNTHETIC.txt").unlink()
    with pytest.raises(InputError, match="is not a night of a simulation"):
        corrupt_night(copy.landing, copy.ground_truth, NIGHT, seed=3)
