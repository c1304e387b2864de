import json
import math
import socket
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
from great_expectations.expectations import (
    ExpectColumnMaxToBeBetween,
    ExpectColumnValuesToBeBetween,
    ExpectColumnValuesToNotBeNull,
    ExpectTableRowCountToBeBetween,
)

from checks.night_tables import NightTables
from checks.outcome import ExpectationResult
from checks.suite import Suite, expect
from checks.validation import NUM_EXAMPLES, validate

SUITE = Suite(
    "events",
    ("events",),
    "SELECT * FROM events",
    ("line",),
    [
        expect(ExpectTableRowCountToBeBetween, "rows", "events received", min_value=3),
        expect(
            ExpectColumnValuesToNotBeNull,
            "missing",
            "share without a user",
            "warn",
            column="user",
            mostly=0.5,
        ),
        expect(ExpectColumnValuesToBeBetween, "negative", "times below zero", column="ms", min_value=0),
    ],
)


class Rows(NightTables):
    """The tables of a night that consist of these rows."""

    def __init__(self, users: list[str | None], ms: list[float]) -> None:
        self.rows = pd.DataFrame(
            {"line": range(1, len(ms) + 1), "user": pd.Series(users, dtype=object), "ms": ms}
        )

    def select(self, query: str, tables: Collection[str]) -> pd.DataFrame:
        assert (query, tables) == (SUITE.rows, SUITE.reads)
        return self.rows


def _validate(home: Path, rows: Rows) -> list[ExpectationResult]:
    return validate([SUITE], rows, "2026-03-05", home / "store", home / "site")


def _outcomes(home: Path, rows: Rows) -> list[str]:
    return [result.outcome for result in _validate(home, rows)]


def _stored(home: Path) -> list[dict]:
    paths = sorted((home / "store" / "validations").glob("*/*/*/*.json"))
    return [json.loads(path.read_text()) for path in paths]


def test_bounds_include_their_ends(tmp_path):
    assert _outcomes(tmp_path, Rows(["a", "b", None, None], [0, 1, 2, 3])) == ["passed"] * 3
    assert _outcomes(tmp_path, Rows([None, None], [-1, 1])) == ["failed"] * 3


def test_the_results_are_in_the_order_of_the_suite_with_value_and_bound(tmp_path):
    rows, missing, negative = _validate(tmp_path, Rows(["a", None, None, None], [-1, -2, 3, 4]))
    assert (rows.metric, rows.value, rows.min_value, rows.outcome) == ("rows", 4, 3, "passed")
    assert (missing.value, missing.max_value, missing.severity) == (0.75, 0.5, "warn")
    assert negative.describe() == "events.negative is 2, must be at most 0 (times below zero)"


def test_an_expectation_on_no_rows_is_skipped(tmp_path):
    assert _outcomes(tmp_path, Rows([], [])) == ["failed", "skipped", "skipped"]


def test_the_stored_validation_has_severities_and_examples_of_failures_only(tmp_path):
    _validate(tmp_path, Rows(["a"] * 50, [-1] * 30 + [5] * 20))
    (validation,) = _stored(tmp_path)
    rows, missing, negative = validation["results"]
    severities = [result["expectation_config"]["severity"] for result in (rows, missing, negative)]
    assert severities == ["critical", "warning", "critical"]
    assert negative["result"]["unexpected_count"] == 30
    assert len(negative["result"]["unexpected_index_list"]) == NUM_EXAMPLES
    assert negative["result"]["unexpected_index_list"][0] == {"ms": -1, "line": 1}
    assert "unexpected_index_list" not in missing["result"]


def test_the_page_shows_expectation_severity_and_the_row_of_an_example(tmp_path):
    _validate(tmp_path, Rows(["a"] * 3, [4.0, -17.0, 5.0]))
    (page,) = (tmp_path / "site" / "validations" / "events" / "2026-03-05").glob("*/*.html")
    text = page.read_text(encoding="utf-8")
    assert "times below zero, none allowed (negative; blocks the night)" in text
    assert "share without a user, at most 0.5 (missing; warns)" in text
    assert "-17.0" in text
    assert "Failed" in text


def test_an_expectation_that_is_skipped_fails_on_no_page(tmp_path):
    """Great Expectations calls the maximum of no value a failure."""
    bound = expect(ExpectColumnMaxToBeBetween, "longest", "longest time", column="ms", max_value=9)
    suite = replace(SUITE, expectations=[bound])
    rows = Rows(["u"], [math.nan])
    (result,) = validate([suite], rows, "2026-03-05", tmp_path / "store", tmp_path / "site")
    (stored,) = _stored(tmp_path)
    assert result.outcome == "skipped"
    assert stored["success"]
    assert (
        stored["statistics"]["successful_expectations"] == stored["statistics"]["evaluated_expectations"] == 1
    )
    assert "✗" not in (tmp_path / "site" / "index.html").read_text()


def test_the_docs_keep_every_validation_of_a_night(tmp_path):
    _validate(tmp_path, Rows(["a"], [1]))
    _validate(tmp_path, Rows(["a"] * 3, [1] * 3))
    assert len(list((tmp_path / "site" / "validations").glob("events/2026-03-05/*/*.html"))) == 2
    assert [validation["success"] for validation in _stored(tmp_path)] == [False, True]


def test_a_file_that_could_not_be_written_whole_does_not_stop_later_validations(tmp_path, monkeypatch):
    rows = Rows(["a", "b", "c"], [0, 1, 2])
    _validate(tmp_path, rows)
    stored = {path: path.read_bytes() for path in (tmp_path / "store").rglob("*.json")}
    monkeypatch.setattr(Path, "replace", Mock(side_effect=OSError("File too large")))
    with pytest.raises(OSError, match="too large"):
        _validate(tmp_path, rows)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in (tmp_path / "store").rglob("*.json")} == stored
    assert len(stored) == 2  # the suite and its validation
    _validate(tmp_path, rows)


def test_an_expectation_that_cannot_be_evaluated_is_an_error(tmp_path):
    rows = Rows(["a"] * 3, [1] * 3)
    rows.rows = rows.rows.drop(columns="ms")
    with pytest.raises(RuntimeError, match="was not evaluated"):
        _validate(tmp_path, rows)


def test_nothing_is_sent_anywhere(tmp_path, monkeypatch):
    def refuse(*args: object) -> None:
        pytest.fail(f"a connection was opened: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert _outcomes(tmp_path, Rows(["a"] * 3, [1] * 3)) == ["passed"] * 3
