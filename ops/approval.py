"""The approval of a promotion by a person: the card that the person sees, and the file for `promote`."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from core import hashing
from core.errors import InputError
from core.paths import APPROVAL_FILE
from core.run_manifests import read_json, read_manifest, write_json
from ops import night_results
from ops.alerts import RequestAlert
from ops.dag_defaults import positive_number
from ops.operators import night_of, reason_to_skip, workspace_of

APPROVE, REJECT = "Approve", "Reject"
DEFAULT_HOURS = 12.0
RERUN = "run the step again"


class ApprovalTask(HITLOperator):
    """Waits for a person's answer if the verdict needs an approval. No answer in time means no.

    UNDERCURRENT_APPROVAL_HOURS is how long it waits; the default is 12. `promote` runs after either answer,
    because it registers the challenger, too.
    """

    def __init__(self, **settings: Any) -> None:
        hours = positive_number("UNDERCURRENT_APPROVAL_HOURS", DEFAULT_HOURS) or DEFAULT_HOURS
        super().__init__(
            subject="Shall this night's model become the champion?",
            options=[APPROVE, REJECT],
            defaults=REJECT,
            response_timeout=timedelta(hours=hours),
            notifiers=RequestAlert(),
            **settings,
        )

    def execute(self, context: Any) -> None:
        """Ask. Skip the task if the verdict needs no approval or the run leaves `promote` out."""
        try:
            night = night_of(context)
            reason = reason_to_skip("promote", night, context)
        except InputError as error:
            raise AirflowFailException(f"{self.task_id}: refused: {error}") from None
        if reason or context["params"].get("dry_run"):
            raise AirflowSkipException(reason or "dry run")
        if not night_results.read_verdict(workspace_of(night)).needs_approval:
            raise AirflowSkipException("the verdict needs no approval")
        self.body = approval_card(workspace_of(night))
        super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Store the answer for `promote`."""
        response = super().execute_complete(context, event)
        workspace, user = workspace_of(night_of(context)), event["responded_by_user"]
        decision = {
            "approved": response["chosen_options"] == [APPROVE],
            "by": user["name"] if user else "the time limit",
            "verdict_digest": hashing.hash_file(workspace / "gate" / "verdict.json"),
        }
        write_json(workspace / APPROVAL_FILE, decision)
        self.log.info("%s by %s", response["chosen_options"][0], decision["by"])
        return response


def approval_card(workspace: Path) -> str:
    """Return what the approver sees, as Markdown: verdict, intervals, slices, cost and model card.

    Args:
        workspace: folder of the night.

    Raises:
        UnreadableFileError: the verdict is missing or malformed.
        InputError: another file is missing or malformed.
    """
    verdict = night_results.read_verdict(workspace)
    metrics = read_json(workspace / "evaluate" / "details.json", RERUN, ("primary_metric", "slices"))
    primary = metrics["primary_metric"]
    conditions = [
        (c["name"], c["outcome"], c["value"], c["low"], c["high"], c["bound"]) for c in verdict.conditions
    ]
    slices = [
        (name, s.get("num_users"), *(s.get("difference", {}).get(key) for key in ("mean", "low", "high")))
        for name, s in metrics["slices"].items()
    ]
    return "\n\n".join(
        [
            verdict.summary,
            _table(("condition", "outcome", "value", "low", "high", "bound"), conditions),
            f"**Slices** ({primary}, challenger minus reference)",
            _table(("slice", "users", "difference", "low", "high"), slices),
            "**Cost**",
            _table(("step", "seconds", "peak memory, MiB"), _costs(workspace)),
            "**Model card**",
            _table(("field", "value"), _model_card(workspace)),
        ]
    )


def _costs(workspace: Path) -> Iterable[Sequence[Any]]:
    manifests = [read_manifest(workspace / "run_manifests", step) for step in ("align", "train", "evaluate")]
    return [(m["step"], m["seconds"], m["peak_memory_mib"]) for m in manifests]


def _model_card(workspace: Path) -> Iterable[Sequence[Any]]:
    """Return the plain fields of the model's configuration and of the facts about its training."""
    train = read_manifest(workspace / "run_manifests", "train")
    config = read_json(workspace / "train" / "model.json", RERUN)
    plain = {k: v for k, v in (config | train["facts"]).items() if not isinstance(v, dict | list)}
    return [("night", train["night"]), ("commit", train["commit"]), *plain.items()]


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *(tuple(map(_cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    """Return a value as a cell. Data must not end a cell or start an HTML tag."""
    text = "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
