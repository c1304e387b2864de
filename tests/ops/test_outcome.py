"""What the demo's table says of a completed run, from files that may be broken."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops import outcome
from ops.outcome import FaultError, Outcome

FILES: dict[str, Any] = {
    "gate/verdict.json": {"promote": True, "summary": "better"},
    "evaluate/metrics.json": {
        "primary": "ndcg@5",
        "models": {"challenger": {"ndcg@5": 0.25, "head": "complete"}},
    },
    "receipts/promote.json": {"facts": {"champion": "2"}},
}


class Api:
    """Airflow, to whom all is well."""

    def run_state(self, dag: str, run: str) -> str:
        return "success"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(value))
    monkeypatch.setattr(outcome, "champion", lambda: "2")
    return tmp_path


def of(workspace: Path) -> Outcome:
    return outcome.of_run(Api(), "nightly", "run", workspace)  # type: ignore[arg-type]


def test_a_completed_run_is_told_by_its_files(workspace: Path) -> None:
    assert of(workspace) == Outcome("success", None, True, "better", "2", {"challenger": 0.25})


def test_a_receipt_that_mlflow_does_not_bear_out_is_a_fault(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcome, "champion", lambda: "3")
    with pytest.raises(FaultError, match="says champion 2, MLflow says 3"):
        of(workspace)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"promote": "no"}', '{"facts": {}}'])
def test_a_broken_file_is_a_fault_that_names_it(workspace: Path, name: str, text: str | None) -> None:
    if text is None:
        (workspace / name).unlink()
    else:
        (workspace / name).write_text(text)
    with pytest.raises(FaultError, match=f"{workspace}/{name}: "):
        of(workspace)
