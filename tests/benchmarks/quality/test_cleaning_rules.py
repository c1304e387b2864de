import pytest

from benchmarks.quality.cleaning_rules import case_shares, rule_qualities, run_steps, write_landing
from benchmarks.quality.planted_corruption import CASES, DAYS, PlantedLine, plant_lines
from core.config import load_params
from core.paths import PROJECT_ROOT


def _line(case: str, user: str = "u") -> PlantedLine:
    return PlantedLine(DAYS[0], "a.jsonl", b"", case, (user, DAYS[0]))


def test_precision_and_recall_compare_rejects_with_planted_lines():
    cases = ["no_user", "no_user", "no_user", "ordinary_user", "no_video"]
    planted = {("f", n): _line(case) for n, case in enumerate(cases)}
    rejected = {("f", 0): "missing_user", ("f", 1): "missing_user", ("f", 3): "missing_user"}
    rules = rule_qualities(planted, rejected)
    assert (rules["missing_user"].precision, rules["missing_user"].recall) == (2 / 3, 2 / 3)
    assert (rules["missing_video"].planted, rules["missing_video"].recall) == (1, 0)
    assert case_shares(planted | {("g", n): _line(case) for n, case in enumerate(CASES)}, rejected)[
        "no_user"
    ] == (4, 0.5)


def test_bots_are_counted_by_user_and_day():
    planted = {("f", n): _line("bot", "b") for n in range(5)} | {("f", 9): _line("heavy_user", "h")}
    rejected = {("f", 0): "suspected_bot", ("f", 1): "suspected_bot", ("f", 9): "suspected_bot"}
    rule = rule_qualities(planted, rejected)["suspected_bot"]
    assert (rule.planted, rule.rejected, rule.precision, rule.recall) == (1, 2, 0.5, 1)


def test_the_same_seed_plants_the_same_lines():
    clean = load_params(PROJECT_ROOT / "params.yaml").clean
    assert plant_lines(3, clean, 4) == plant_lines(3, clean, 4) != plant_lines(4, clean, 4)


@pytest.mark.usefixtures("keep_spark")
def test_every_planted_line_is_rejected_for_its_reason_or_kept(home):
    params = load_params(PROJECT_ROOT / "params.yaml")
    lines = [line for line in plant_lines(1, params.clean, 10) if line.case not in ("heavy_user", "bot")]
    planted = write_landing(lines, home / "landing")
    rejected = run_steps(params, home)
    assert rejected == {
        key: CASES[line.case].reason for key, line in planted.items() if CASES[line.case].reason
    }
