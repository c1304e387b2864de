import json
import shutil
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from contracts import landing as contract
from contracts.errors import InputError
from contracts.records import KINDS, Refused
from tests.world.conftest import Made
from world.poison import mend, poison

NIGHT = date(2026, 3, 3)


@pytest.fixture
def copy(tiny: Made, tmp_path: Path) -> Made:
    """The tiny world, to be spoilt."""
    landing, truth = tmp_path / "landing", tmp_path / "truth"
    shutil.copytree(tiny.landing, landing, ignore=shutil.ignore_patterns("*.mp4"))
    shutil.copytree(tiny.truth, truth)
    return Made(landing, truth, tiny.counts)


def _rows(landing: Path) -> list:
    """The events of the night as the pipeline would take them in."""
    files = contract.files(landing, "events", NIGHT)
    return [row for path in files for _, _, row in contract.read(path, KINDS["events"])]


def test_half_of_the_events_of_a_poisoned_night_have_no_user(copy: Made):
    before = _rows(copy.landing)
    lost = poison(copy.landing, copy.truth, NIGHT, seed=3)
    after = _rows(copy.landing)
    assert len(after) == len(before)
    missing = sum(not isinstance(row, Refused) and row["user_id"] is None for row in after)
    assert 0.45 < lost / len(after) <= 0.5
    assert missing >= 0.45 * len(after)


def test_mending_puts_back_the_very_same_file(copy: Made):
    path = copy.landing / f"events/dt={NIGHT}/events.jsonl"
    good = path.read_bytes()
    poison(copy.landing, copy.truth, NIGHT, seed=3)
    assert path.read_bytes() != good
    mend(copy.landing, NIGHT)
    assert path.read_bytes() == good
    assert len(list(path.parent.glob("_*"))) == 0


def test_the_truth_says_which_lines_lost_their_user(copy: Made):
    path = copy.landing / f"events/dt={NIGHT}/events.jsonl"
    good = path.read_bytes().splitlines()
    lost = poison(copy.landing, copy.truth, NIGHT, seed=3)
    rows = pq.read_table(copy.truth / f"poison-{NIGHT}.parquet").to_pylist()
    assert len(rows) == lost
    poisoned = path.read_bytes().splitlines()
    for row in rows:
        before, after = (json.loads(lines[row["line"] - 1]) for lines in (good, poisoned))
        assert before["user_id"]
        assert after == before | {"user_id": None}


def test_poisoning_is_the_same_every_time(copy: Made, tmp_path: Path):
    path = copy.landing / f"events/dt={NIGHT}/events.jsonl"
    poison(copy.landing, copy.truth, NIGHT, seed=3)
    first = path.read_bytes()
    mend(copy.landing, NIGHT)
    poison(copy.landing, copy.truth, NIGHT, seed=3)
    assert path.read_bytes() == first


def test_wrong_nights_are_refused_in_one_sentence(copy: Made):
    with pytest.raises(InputError, match="is not a night of a demo world"):
        poison(copy.landing, copy.truth, date(2020, 1, 1), seed=3)
    with pytest.raises(InputError, match="is not poisoned"):
        mend(copy.landing, NIGHT)
    poison(copy.landing, copy.truth, NIGHT, seed=3)
    with pytest.raises(InputError, match="is poisoned already"):
        poison(copy.landing, copy.truth, NIGHT, seed=3)


def test_real_input_is_never_poisoned(copy: Made):
    (copy.landing / "SYNTHETIC.txt").unlink()
    with pytest.raises(InputError, match="is not a night of a demo world"):
        poison(copy.landing, copy.truth, NIGHT, seed=3)
