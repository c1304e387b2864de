import sys
from collections import Counter
from datetime import date
from pathlib import Path
from random import Random

import pytest

from benchmarks.chaos import nights
from benchmarks.chaos.faults import Target
from benchmarks.chaos.lake import TABLES, format_table, read_tables
from benchmarks.chaos.nights import FaultCounts, Platform, StepOutcome, run_faults
from benchmarks.chaos.servers import Servers
from benchmarks.chaos.step_runs import Ending, Step
from core.paths import PROJECT_ROOT
from tests.support.landing_files import DAY, small_platform

NIGHT = date(2026, 3, 12)
PARAMS = PROJECT_ROOT / "params.yaml"
ROWS = {name: Counter(["a", "b"]) for name in TABLES}
EXPECTED = StepOutcome({"bundle_digest": "d"}, ROWS, "d")
DONE, KILLED, BUG = Ending(0, ""), Ending(-9, ""), Ending(1, "Traceback")


def land_one_day(home: Path) -> None:
    """Deliver the landing files of a small platform."""
    small_platform(home / "landing", days=1)


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


def test_the_first_night_draws_each_kind_of_fault_that_its_steps_can_have(home: Path) -> None:
    servers, tries = Servers({}, {}, ""), Counter[tuple[str, str]]()
    names = ("kill", "poison", "postgres", "s3", "mlflow", "broken network", "stalled network")
    targets = [
        Target(Step(step, NIGHT, home), 1.0, [NIGHT], servers, Random(seed))
        for seed, step in enumerate(nights.NIGHT_STEPS)
    ]
    drawn = Counter(nights.draw_fault(target, names, tries) for target in targets)
    assert set(drawn) == set(names)
    assert drawn["mlflow"] > 1  # few steps can have it, so they have it more often


def test_a_step_that_is_killed_and_repeated_leaves_the_tables_of_an_undisturbed_run(tmp_path: Path) -> None:
    platform = Platform([DAY], ("ingest",), PARAMS, land_one_day)
    (counts,) = run_faults(platform, tmp_path, num_faults=1, seed=1, names=("kill",)).values()
    assert counts == FaultCounts(faults=1, ended=1, survived=1)
    assert read_tables(DAY)["events"].total() == 21


def test_no_fault_begins_after_the_given_time(tmp_path: Path) -> None:
    platform = Platform([DAY], (), PARAMS, lambda home: None)
    counts = run_faults(platform, tmp_path, num_faults=1, seed=1, names=("kill",), until=0.0)
    assert counts == {"kill": FaultCounts()}


@pytest.mark.parametrize(
    ("step", "champion", "is_half"),
    [("promote", "old", False), ("promote", "new", False), ("promote", "", True), ("gate", "", False)],
)
def test_a_champion_that_is_neither_old_nor_new_is_half_promoted(
    monkeypatch: pytest.MonkeyPatch, step: str, champion: str, is_half: bool
) -> None:
    monkeypatch.setattr(nights, "read_champion", lambda: champion)
    assert nights.is_half_promoted(step, "old", "new") == is_half


def test_kinds_that_cannot_disturb_every_step_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["nights", "--only", "jvm", "poison"])
    with pytest.raises(SystemExit):
        nights.main()
    assert "--only: name one of ['file limit', 'kill', 'twice'], too" in capsys.readouterr().err
