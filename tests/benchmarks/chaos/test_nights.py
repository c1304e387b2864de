from collections import Counter
from datetime import date
from pathlib import Path
from random import Random

import pytest

from benchmarks.chaos import nights
from benchmarks.chaos.faults import Target
from benchmarks.chaos.lake import TABLES, format_table
from benchmarks.chaos.nights import FaultCounts, Platform, StepOutcome, run_faults
from benchmarks.chaos.step_runs import Ending, Step
from core.paths import PROJECT_ROOT
from tests.support.workspaces import sample_night

NIGHT = date(2026, 3, 12)
PARAMS = PROJECT_ROOT / "params.yaml"
ROWS = {name: Counter(["a", "b"]) for name in TABLES}
EXPECTED = StepOutcome({"bundle_digest": "d"}, ROWS, "d")
DONE, KILLED, BUG = Ending(0, ""), Ending(-9, ""), Ending(1, "Traceback")


def evaluated_night(home: Path) -> None:
    """A night after `evaluate`, whose challenger the gate promotes."""
    sample_night(home / str(NIGHT), NIGHT, champion=None)


def test_each_difference_to_the_undisturbed_run_is_counted() -> None:
    counts = FaultCounts()
    counts.add(KILLED, False, EXPECTED, EXPECTED)
    counts.add(KILLED, False, EXPECTED, StepOutcome({"bundle_digest": "other"}, ROWS, "d"))
    counts.add(DONE, True, EXPECTED, StepOutcome({"bundle_digest": "d"}, ROWS, ""))
    lost = ROWS | {"events": Counter(["a", "c", "c"])}
    counts.add(BUG, False, EXPECTED, StepOutcome({"bundle_digest": "d"}, lost, "d"))
    counts.add(BUG, False, EXPECTED, None)
    assert counts == FaultCounts(
        faults=5, ended=4, unclear=2, survived=1, rows_lost=1, rows_added=2, half_promotions=1
    )
    assert format_table({"kill": counts}).splitlines()[-1].split() == ["all", *"5421121"]


def test_a_step_gets_each_kind_of_fault_once_before_one_returns(home: Path) -> None:
    target, tries = (
        Target(Step("gate", NIGHT, home), 1.0, [NIGHT], None, Random(3)),
        Counter[tuple[str, str]](),
    )
    names = ("kill", "file limit", "twice", "poison", "s3")
    drawn = [nights.draw_fault(target, names, tries) for _ in range(6)]
    assert sorted(drawn[:3]) == sorted(drawn[3:]) == ["file limit", "kill", "twice"]


@pytest.mark.timeout(600)
def test_a_night_whose_steps_are_disturbed_promotes_the_same_champion(tmp_path: Path) -> None:
    platform = Platform([NIGHT], ("gate", "promote"), PARAMS, evaluated_night)
    counts = run_faults(platform, tmp_path, num_faults=2, seed=1, names=("kill", "file limit"))
    assert sum(c.faults for c in counts.values()) == sum(c.survived for c in counts.values()) == 2
    assert not any(c.half_promotions + c.rows_lost + c.rows_added for c in counts.values())
    assert nights.read_champion()
