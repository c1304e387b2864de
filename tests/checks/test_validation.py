import json
import socket
from pathlib import Path

import pytest

from checks.suites import Expectation
from checks.validation import validate

LOW = Expectation("events", "rows", "events received", min_value=100)
HIGH = Expectation("events", "missing", "share without a user", "warn", max_value=0.05)
OTHER = Expectation("features", "bad", "bad vectors", max_value=0)


def _validate(
    tmp_path: Path, rows: float | None, missing: float | None = 0.0, bad: float | None = 0
) -> list[str]:
    metrics = {"events": {"rows": rows, "missing": missing}, "features": {"bad": bad}}
    store, site = tmp_path / "store", tmp_path / "site"
    results = validate([LOW, HIGH, OTHER], metrics, "2026-03-05", store, site)
    assert [result.expectation for result in results] == [LOW, HIGH, OTHER]
    return [result.outcome for result in results]


def test_bounds_include_their_ends(tmp_path):
    assert _validate(tmp_path, 100, 0.05) == ["passed", "passed", "passed"]
    assert _validate(tmp_path, 99, 0.050001, 1) == ["failed", "failed", "failed"]


def test_an_unmeasured_expectation_is_skipped(tmp_path):
    assert _validate(tmp_path, 100, None, None) == ["passed", "skipped", "skipped"]


def test_an_unmeasured_table_does_not_stop_the_others(tmp_path):
    assert _validate(tmp_path, None, None, 1) == ["skipped", "skipped", "failed"]


def test_the_docs_keep_every_validation_of_a_night(tmp_path):
    _validate(tmp_path, 7)
    _validate(tmp_path, 700)
    pages = sorted((tmp_path / "site" / "validations" / "events" / "2026-03-05").glob("*/*.html"))
    assert len(pages) == 2
    text = pages[0].read_text(encoding="utf-8")
    assert "events received: at least 100 (error)" in text
    assert "Failed" in text
    validations = [
        json.loads(path.read_text()) for path in sorted((tmp_path / "store").glob("validations/events/*/*/*"))
    ]
    assert [validation["results"][0]["result"]["observed_value"] for validation in validations] == [7, 700]
    assert validations[0]["results"][0]["expectation_config"]["severity"] == "critical"
    assert validations[0]["results"][1]["expectation_config"]["severity"] == "warning"


def test_nothing_is_sent_anywhere(tmp_path, monkeypatch):
    def refuse(*args: object) -> None:
        pytest.fail(f"a connection was opened: {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert _validate(tmp_path, 100) == ["passed", "passed", "passed"]
