"""docs/data-contract.md lists the reject reasons and parameters that the code has."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from core.config import CleanConfig, IngestConfig
from core.paths import PROJECT_ROOT

CONTRACT = (PROJECT_ROOT / "docs" / "data-contract.md").read_text(encoding="utf-8")
PARAMETERS = {
    f"{section}.{field.name}"
    for section, config in (("ingest", IngestConfig), ("clean", CleanConfig))
    for field in fields(config)
}
NO_RULE = {"ingest.batch_rows", "ingest.max_file_mib", "clean.session_gap_minutes"}  # bounds of no record


def _rows(step: str) -> list[list[str]]:
    """The cells of the table of reject reasons of a step."""
    section = CONTRACT.split(f"### `{step}`\n")[1].split("\n#")[0]
    return [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]


def _documented(step: str) -> set[str]:
    return {reason for row in _rows(step) for reason in re.findall(r"`(\w+)`", row[0])}


def _calls(path: Path, name: str, position: int) -> Iterator[str]:
    """The texts that the calls of a function in a file have as an argument."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == name:
            argument = node.args[position]
            if isinstance(argument, ast.Constant):
                yield argument.value


def _keys_of_rules(path: Path) -> Iterator[str]:
    """The keys of the dictionary `rules` in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "rules":
            assert isinstance(node.value, ast.Dict)
            yield from (key.value for key in node.value.keys if isinstance(key, ast.Constant))


def test_the_contract_lists_the_reasons_of_ingest() -> None:
    paths = [PROJECT_ROOT / "core" / "records.py", *(PROJECT_ROOT / "lake").glob("*.py")]
    reasons = {reason for path in paths for reason in _calls(path, "RecordRejected", 0)}
    assert _documented("ingest") == reasons


def test_the_contract_lists_the_reasons_of_clean() -> None:
    path = PROJECT_ROOT / "spark_jobs" / "clean.py"
    assert _documented("clean") == {*_keys_of_rules(path), *_calls(path, "_with_reason_of_rows", 1)}


@pytest.mark.parametrize("step", ["ingest", "clean"])
def test_the_contract_names_existing_parameters(step: str) -> None:
    named = {name for row in _rows(step) for name in re.findall(rf"`({step}\.\w+)`", row[2])}
    assert named == {name for name in PARAMETERS - NO_RULE if name.startswith(f"{step}.")}
