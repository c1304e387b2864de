import subprocess
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from benchmarks.chaos import nights
from benchmarks.chaos.lake import TABLES, format_table
from benchmarks.chaos.nights import FaultCounts, Platform, StepOutcome, run_faults
from core.paths import PROJECT_ROOT
from tests.support.workspaces import sample_night

NIGHT = date(2026, 3, 12)
PARAMS = PROJECT_ROOT / "params.yaml"
ROWS = {name: Counter(["a", "b"]) for name in TABLES}
EXPECTED = StepOutcome({"bundle_digest": "d"}, ROWS, "d")


def evaluated_night(home: Path) -> None:
    """A night after `evaluate`, whose challenger the gate promotes."""
    sample_night(home / str(NIGHT), NIGHT, champion=None)


def test_each_difference_to_the_undisturbed_run_is_counted() -> None:
    counts = FaultCounts()
    counts.add(True, False, EXPECTED, EXPECTED)
    counts.add(True, False, EXPECTED, StepOutcome({"bundle_digest": "other"}, ROWS, "d"))
    counts.add(False, True, EXPECTED, StepOutcome({"bundle_digest": "d"}, ROWS, ""))
    lost = ROWS | {"events": Counter(["a", "c", "c"])}
    counts.add(True, False, EXPECTED, StepOutcome({"bundle_digest": "d"}, lost, "d"))
    assert counts == FaultCounts(
        faults=4, in_time=3, survived=1, rows_lost=1, rows_added=2, half_promotions=1
    )
    assert format_table({"promote": counts}).splitlines()[-1].split() == ["all", *"431121"]


@pytest.mark.timeout(600)
def test_a_night_whose_steps_are_disturbed_promotes_the_same_champion(tmp_path: Path) -> None:
    platform = Platform([NIGHT], ("gate", "promote"), PARAMS, evaluated_night)
    counts = run_faults(platform, tmp_path, num_faults=2, seed=1)
    assert [(c.faults, c.survived) for c in counts.values()] == [(1, 1), (1, 1)]
    assert not any(c.half_promotions + c.rows_lost + c.rows_added for c in counts.values())
    assert nights.read_champion()


@pytest.mark.timeout(600)
def test_a_full_disk_stops_a_step_and_a_retry_completes_it(tmp_path: Path) -> None:
    home = nights._new_home(Platform([NIGHT], (), PARAMS, evaluated_night), tmp_path / "other-home")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        nights.run_step("gate", NIGHT, home, max_file_bytes=100)
    assert "File too large" in caught.value.stderr
    nights.run_step("gate", NIGHT, home)
