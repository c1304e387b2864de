"""Measure precision and recall of each reject reason of `ingest` and `clean` on planted corruption.

Landing files with planted lines go through the two steps. Each reject names its file and line, so it is
compared with what was planted there. The unit is a line. For `suspected_bot` it is a user and day, because
the rule rejects whole days.

Precision is the share of rejects with that reason that were planted for it. Recall is the share of the
planted ones that were rejected with that reason. The cases show how many lines of each kind were rejected.
The last line is the JSON result.
"""

import argparse
import os
import tempfile
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from benchmarks.quality.planted_corruption import (
    CASES,
    DAYS,
    LONG_COMMENT,
    PlantedLine,
    catalogue,
    plant_lines,
)
from benchmarks.result import publish_result
from core.config import Params, load_params
from core.paths import PROJECT_ROOT, Night
from lake.client import Lake
from tasks import clean, ingest

GOAL = 0.99
PER_USER_DAY = "suspected_bot"

LineKey = tuple[str, int]  # file below the landing folder, line


@dataclass(frozen=True)
class RuleQuality:
    """How well a reason was given.

    Attributes:
        planted: Units that were planted for the reason.
        rejected: Units that were rejected with it.
        correct: Units that are both.
    """

    planted: int
    rejected: int
    correct: int

    @property
    def precision(self) -> float:
        return self.correct / self.rejected if self.rejected else 0.0

    @property
    def recall(self) -> float:
        return self.correct / self.planted if self.planted else 0.0


def main() -> int:
    """Run the benchmark. Returns the exit code: 0, also if a rule misses the goal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.cleaning_rules", description=__doc__)
    parser.add_argument("--params", type=Path, default=PROJECT_ROOT / "params.yaml", help="parameter file")
    parser.add_argument("--seed", type=int, default=1, help="seed of the lines (default: %(default)s)")
    parser.add_argument(
        "--lines", type=int, default=1000, help="lines of each kind of corruption (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/cleaning-rules.json")
    args = parser.parse_args()
    params = load_params(args.params)
    lines = plant_lines(args.seed, params.clean, args.lines)
    with tempfile.TemporaryDirectory(prefix="undercurrent-rules-") as folder:
        os.environ["UNDERCURRENT_HOME"] = folder
        planted = write_landing(lines, Path(folder) / "landing")
        rejected = run_steps(params, Path(folder))
    rules = rule_qualities(planted, rejected)
    cases = case_shares(planted, rejected)
    print(format_tables(rules, cases))
    figures = {
        "seed": args.seed,
        "lines": len(lines),
        "rules": {
            name: {**vars(rule), "precision": round(rule.precision, 4), "recall": round(rule.recall, 4)}
            for name, rule in rules.items()
        },
        "cases": {name: {"lines": count, "rejected": share} for name, (count, share) in cases.items()},
    }
    worst = min(min(rule.precision, rule.recall) for rule in rules.values())
    publish_result("cleaning-rules", figures, {"worst_rule_to_goal": round(worst / GOAL, 4)}, args.keep)
    return 0


def write_landing(lines: Sequence[PlantedLine], landing: Path) -> dict[LineKey, PlantedLine]:
    """Write the landing files, and return the planted line at each place."""
    files: dict[str, list[PlantedLine]] = defaultdict(list)
    for line in lines:
        files[f"events/dt={line.received}/{line.file}"].append(line)
    contents = {name: [line.content for line in of_file] for name, of_file in files.items()}
    for day, entry in catalogue():
        contents.setdefault(f"videos/dt={day}/a.jsonl", []).append(msgspec.json.encode(entry))
    for name, rows in contents.items():
        path = landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(row + b"\n" for row in rows))
    return {(name, number): line for name, of_file in files.items() for number, line in enumerate(of_file, 1)}


def run_steps(params: Params, home: Path) -> dict[LineKey, str]:
    """Run `ingest` and `clean`, and return the reason of each rejected line."""
    night = Night(DAYS[-1], home / "night")
    ingest.run(replace(params.ingest, max_record_kib=LONG_COMMENT >> 11), night)
    clean.run(params.clean, night)
    rows = Lake().scan("rejects", columns=("source_file", "source_line", "reason")).to_pylist()
    return {(row["source_file"], row["source_line"]): row["reason"] for row in rows}


def rule_qualities(
    planted: dict[LineKey, PlantedLine], rejected: dict[LineKey, str]
) -> dict[str, RuleQuality]:
    """Compare the rejects of each reason with the lines that were planted for it."""

    def unit(key: LineKey, reason: str) -> Hashable:
        return planted[key].user_day if reason == PER_USER_DAY else key

    wanted: dict[str, set[Hashable]] = defaultdict(set)
    given: dict[str, set[Hashable]] = defaultdict(set)
    for key, line in planted.items():
        if reason := CASES[line.case].reason:
            wanted[reason].add(unit(key, reason))
    for key, reason in rejected.items():
        given[reason].add(unit(key, reason))
    return {
        reason: RuleQuality(len(wanted[reason]), len(given[reason]), len(wanted[reason] & given[reason]))
        for reason in sorted({*wanted, *given})
    }


def case_shares(
    planted: dict[LineKey, PlantedLine], rejected: dict[LineKey, str]
) -> dict[str, tuple[int, float]]:
    """Return the number of lines of each case, and the share that was rejected for any reason."""
    lines: dict[str, list[bool]] = defaultdict(list)
    for key, line in planted.items():
        lines[line.case].append(key in rejected)
    return {name: (len(lines[name]), round(sum(lines[name]) / len(lines[name]), 4)) for name in CASES}


def format_tables(rules: dict[str, RuleQuality], cases: dict[str, tuple[int, float]]) -> str:
    """Return the results as two Markdown tables. A figure below the goal is bold."""
    return "\n".join(
        [
            "| reason | planted | rejected | precision | recall |",
            "|---|---|---|---|---|",
            *(
                f"| `{name}` | {rule.planted} | {rule.rejected} "
                f"| {_marked(rule.precision)} | {_marked(rule.recall)} |"
                for name, rule in rules.items()
            ),
            "",
            "| case | must be | lines | rejected |",
            "|---|---|---|---|",
            *(
                f"| {name} | {CASES[name].reason or 'kept'} | {count} | {share:.4f} |"
                for name, (count, share) in cases.items()
            ),
        ]
    )


def _marked(value: float) -> str:
    return f"{value:.4f}" if value >= GOAL else f"**{value:.4f}**"


if __name__ == "__main__":
    raise SystemExit(main())
