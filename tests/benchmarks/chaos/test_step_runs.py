from datetime import date
from pathlib import Path

import pytest

from benchmarks.chaos.step_runs import Ending, Step, StepProcess, complete_step

NIGHT = date(2026, 3, 12)


@pytest.mark.parametrize(
    ("exit_code", "messages", "has_reason"),
    [
        (0, "", True),
        (-9, "gate: night 2026-03-12\n", True),
        (2, "gate: night 2026-03-12\ngate: refused: a sentence\n", True),
        (1, "Traceback (most recent call last):\nKeyError: 'a'\n", False),
        (-11, "", False),
    ],
)
def test_a_reason_is_one_sentence_of_the_step(exit_code: int, messages: str, has_reason: bool) -> None:
    assert Ending(exit_code, messages).has_reason == has_reason


def test_a_step_that_ends_early_gives_its_reason(home: Path) -> None:
    step = Step("gate", NIGHT, home)
    process = StepProcess(step)
    assert not process.run_for(60)
    ending = process.end()
    assert (ending.exit_code, ending.is_done) == (2, False)
    assert ending.reason.startswith("gate: refused: ")
    with pytest.raises(RuntimeError, match="gate of 2026-03-12 did not complete"):
        complete_step(step)


def test_a_step_without_a_child_of_that_name_ends_the_search(home: Path) -> None:
    assert StepProcess(Step("gate", NIGHT, home)).find_child("java") is None
