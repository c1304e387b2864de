from types import SimpleNamespace

import pytest

from benchmarks.chaos import spark_step
from core import step_cli
from spark_jobs import context, exchange
from tasks import check, clean, ingest


def test_a_step_without_input_files_runs_on_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (ingest, "MIN_SPARK_BYTES"),
        (exchange, "MAX_BYTES_IN_PROCESS"),
        (check, "NightTables"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))  # it gets its value back after the test
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(step_cli, "main", lambda *arguments: calls.append(arguments) or 3)
    assert spark_step.main("clean", ["--night", "2026-03-12"]) == 3
    assert calls == [("clean", clean.run, None, ["--night", "2026-03-12"])]
    spark = SimpleNamespace(stop=lambda: None)
    monkeypatch.setattr(context, "spark_context", lambda step: spark)
    with exchange.task_scheduler("clean", []) as scheduler:
        assert scheduler.spark is spark
    assert check.NightTables({}, lambda: None)._max_bytes_in_process < 0  # type: ignore[arg-type, return-value]
    assert ingest.MIN_SPARK_BYTES == 0
