"""The state of a step: whether its newest run is complete, and whether it is still up to date."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.config import Params
from core.failures import read_failure
from core.paths import Night
from core.pseudonyms import require_key
from core.run_manifests import read_json
from core.step_data import STEP_DATA
from core.step_graph import STEPS

DONE, NOT_RUN = "done", "not run"


@dataclass(frozen=True)
class StepState:
    """How the newest run of a step ended.

    Attributes:
        step: Its name.
        outcome: Done, failed, refused, blocked or not run. A killed or running step counts as not run.
        reason: Why it ended early. Empty if it did not.
        manifest: Its run manifest. Empty unless it is done.
    """

    step: str
    outcome: str
    reason: str
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class PlannedStep:
    """What a run of a step would read and write.

    Attributes:
        step: Its name.
        up_to_date: Whether a run would repeat the newest run.
        reasons: Why it is not up to date.
        reads: Its inputs. See `core.step_data.StepData`.
        writes: Its outputs.
    """

    step: str
    up_to_date: bool
    reasons: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def read_state(night: Night, step: str) -> StepState:
    """Read the state of a step from the workspace.

    Raises:
        InputError: Its run manifest or failure is damaged.
    """
    if failure := read_failure(night.workspace, step):
        return StepState(step, failure.outcome, failure.reason, {})
    path = night.run_manifests / f"{step}.json"
    if not path.exists():
        return StepState(step, NOT_RUN, "", {})
    keys = ("facts", "params", "commit", "started_at", "seconds", "night")
    manifest = read_json(path, f"run `undercurrent run {step} --night {night.day}` again", keys)
    return StepState(step, DONE, "", manifest)


def plan_step(night: Night, step: str, params: Params, commit: str) -> PlannedStep:
    """Compare the newest run of a step with what a run would use now.

    `ingest` always looks for new landing files. Another step is up to date if it is done, with the present
    code and parameters, and later than the steps that it waits for.

    Args:
        night: The night.
        step: The step.
        params: The present parameters.
        commit: The present code, see `core.step_cli.code_commit`.

    Raises:
        InputError: A run manifest or failure is damaged, or the key of the pseudonyms is missing.
    """
    reasons = tuple(_reasons_to_run(night, step, params, commit))
    data = STEP_DATA[step]
    return PlannedStep(step, not reasons, reasons, data.reads, data.writes)


def _reasons_to_run(night: Night, step: str, params: Params, commit: str) -> list[str]:
    state = read_state(night, step)
    if state.outcome != DONE:
        return [f"{state.outcome}: {state.reason}" if state.reason else state.outcome]
    reasons = [] if STEPS[step] else ["looks for new landing files"]
    if state.manifest["night"] != str(night.day):
        reasons.append(f"the workspace holds the night {state.manifest['night']}")
    reasons += _changed_params(state.manifest["params"], asdict(params.section(step)))
    if step == "snapshot":
        reasons += _changed_key(state.manifest["facts"], params)
    if state.manifest["commit"] != commit:
        reasons.append(f"code {state.manifest['commit']} → {commit}")
    return reasons + changed_upstream(state, [read_state(night, upstream) for upstream in STEPS[step]])


def _changed_key(facts: Mapping[str, Any], params: Params) -> list[str]:
    """Return `pseudonym_key old → new` if the snapshot has pseudonyms of another key, or ids."""
    key = require_key(params.privacy)
    old, new = facts.get("pseudonym_key"), key.fingerprint if key else None
    return [] if old == new else [_describe_change("pseudonym_key", old, new)]


def changed_upstream(state: StepState, upstream: Sequence[StepState]) -> list[str]:
    """Return why a step that is done does not follow from the newest runs of the steps that it waits for.

    Args:
        state: Of the step.
        upstream: Of the steps that it waits for.
    """
    reasons = []
    for other in upstream:
        if other.outcome != DONE:
            reasons.append(f"{other.step} is not done")
        elif other.manifest["started_at"] > state.manifest["started_at"]:
            reasons.append(f"{other.step} ran later")
    return reasons


def _changed_params(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return `key old → new` for each changed parameter."""
    present = json.loads(json.dumps(new, default=str))  # as a run manifest holds them
    keys = sorted(key for key in old.keys() | present.keys() if old.get(key) != present.get(key))
    return [_describe_change(key, old.get(key), present.get(key)) for key in keys]


def _describe_change(key: str, old: object, new: object) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        changes = _changed_params(old, new)
        return ", ".join(f"{key}.{change}" for change in changes)
    return f"{key} {old} → {new}"
