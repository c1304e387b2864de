from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from core.config import IngestConfig, load_params
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night
from lake import audits
from lake.client import Lake, on_days
from tasks import clean, ingest, sequences
from tests.support.landing_files import DAY, small_platform

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
pytestmark = pytest.mark.usefixtures("keep_spark")


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(DAY, tmp_path / "night")


def _clean_days(landing: Path, night: Night, days: int) -> None:
    small_platform(landing, days)
    ingest.run(IngestConfig(batch_rows=1000, max_record_kib=64, max_file_mib=64), night)
    clean.run(PARAMS.clean, night)


def _run(night: Night, validation_days: int = 2) -> Mapping:
    return sequences.run(replace(PARAMS.sequences, validation_days=validation_days), night).facts


def _days_before(days: int) -> str:
    return str(DAY - timedelta(days))


def test_sequences_are_built_for_each_fold_when_needed(landing, night):
    _clean_days(landing, night, days=4)
    facts = _run(night)
    assert facts["folds"] == {"valid_1": _days_before(2), "valid_2": _days_before(1), "test": str(DAY)}
    assert facts["days"] == [_days_before(days) for days in (3, 2, 1, 0)]
    for known_days, days_ago in ((1, 3), (2, 2), (3, 1)):
        table = Lake().scan("sequences", on_days(DAY - timedelta(days_ago)))
        assert {len(videos) for videos in table["video_ids"].to_pylist()} == {3 * known_days}
    assert _run(night)["days"] == []


def test_validation_days_set_the_number_of_validation_folds(landing, night):
    _clean_days(landing, night, days=4)
    assert _run(night, validation_days=1)["folds"] == {"valid_1": _days_before(1), "test": str(DAY)}
    facts = _run(night, validation_days=2)
    assert list(facts["folds"]) == ["valid_1", "valid_2", "test"]
    assert facts["days"] == [_days_before(3)]  # the other days are built already


@pytest.mark.parametrize("days", [2, 3, 4])
def test_a_short_history_has_fewer_validation_days_and_a_training_day(landing, night, days):
    _clean_days(landing, night, days)
    folds = _run(night, validation_days=9)["folds"]
    assert len(folds) - 1 == max(days - 2, 1)
    assert folds["valid_1"] == _days_before(max(days - 2, 1))


def test_a_blocked_day_is_no_validation_day(landing, night):
    _clean_days(landing, night, days=4)
    audits.write_audit(DAY - timedelta(1), "blocked")
    assert _run(night)["folds"] == {"valid_1": _days_before(2), "test": str(DAY)}


def test_sequences_without_interactions_are_refused(night):
    with pytest.raises(InputError, match=f"no interactions up to {DAY} are in the lake"):
        sequences.run(PARAMS.sequences, night)
