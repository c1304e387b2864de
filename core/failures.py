"""Failures: the record that a step leaves of why it ended early. It complements the run manifest.

A step removes its failure when it starts again. So its existence means that the newest run did not complete.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from core.errors import CHECKS_BLOCKED, FAILED, REFUSED_INPUT
from core.run_manifests import read_json, write_json

# Exit code -> what happened to the step.
OUTCOMES = {FAILED: "failed", REFUSED_INPUT: "refused", CHECKS_BLOCKED: "blocked"}


@dataclass(frozen=True)
class Failure:
    """Why a step ended early.

    Attributes:
        exit_code: of the step.
        reason: one sentence, without credentials.
    """

    exit_code: int
    reason: str

    @property
    def outcome(self) -> str:
        """Failed, refused or blocked."""
        return OUTCOMES.get(self.exit_code, "failed")


def write_failure(workspace: Path, step: str, failure: Failure) -> None:
    """Write `failures/<step>.json` in a workspace."""
    write_json(_path(workspace, step), {"step": step, "outcome": failure.outcome, **asdict(failure)})


def read_failure(workspace: Path, step: str) -> Failure | None:
    """Return the failure of the newest run of a step, None if there is none.

    Raises:
        InputError: its file is damaged.
    """
    path = _path(workspace, step)
    if not path.exists():
        return None
    values = read_json(path, f"delete it and run `python -m tasks.{step}` again", ("exit_code", "reason"))
    return Failure(int(values["exit_code"]), str(values["reason"]))


def remove_failure(workspace: Path, step: str) -> None:
    """Remove the failure of a step, if there is one."""
    _path(workspace, step).unlink(missing_ok=True)


def _path(workspace: Path, step: str) -> Path:
    return workspace / "failures" / f"{step}.json"
