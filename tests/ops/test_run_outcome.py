"""Reading the outcome of a completed run from files that may be broken."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops import run_outcome
from ops.run_outcome import RunOutcome, UnexpectedFailureError

FILES: dict[str, Any] = {
    "gate/verdict.json": {"promote": True, "summary": "better", "needs_approval": False, "conditions": []},
    "evaluate/details.json": {
        "primary_metric": "ndcg@5",
        "models": {"challenger": {"ndcg@5": 0.25, "head": "complete"}},
    },
    "run_manifests/promote.json": {"facts": {"champion": "2"}},
}


class SuccessfulAirflow:
    """An Airflow client whose runs all succeed."""

    def run_state(self, dag: str, run: str) -> str:
        return "success"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(value))
    monkeypatch.setattr(run_outcome, "champion_version", lambda: "2")
    return tmp_path


def read_outcome(workspace: Path) -> RunOutcome:
    return run_outcome.read_outcome(SuccessfulAirflow(), "nightly", "run", workspace)  # type: ignore[arg-type]


def test_the_outcome_of_a_completed_run_is_read_from_its_files(workspace: Path) -> None:
    assert read_outcome(workspace) == RunOutcome("success", None, True, "better", "2", {"challenger": 0.25})


def test_a_run_manifest_that_contradicts_mlflow_is_a_failure(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_outcome, "champion_version", lambda: "3")
    with pytest.raises(UnexpectedFailureError, match="says champion 2, MLflow says 3"):
        read_outcome(workspace)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"promote": "no"}', '{"facts": {}}'])
def test_a_broken_file_is_named(workspace: Path, name: str, text: str | None) -> None:
    if text is None:
        (workspace / name).unlink()
    else:
        (workspace / name).write_text(text)
    with pytest.raises(UnexpectedFailureError, match=f"{workspace}/{name}: "):
        read_outcome(workspace)
