"""The verdict of the gate: `gate` writes it, `promote` and `report` read it with a strict schema."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core import schema
from core.errors import InputError
from core.paths import Night
from core.run_manifests import read_json

PROMOTED, NOT_PROMOTED, REFUSED = "promoted", "not promoted", "refused"


@dataclass(frozen=True)
class Verdict:
    """The decision of the gate and what it is based on.

    Attributes:
        night: The night, as YYYY-MM-DD.
        champion: The registered version of the champion that the challenger was compared with, if any.
        incumbent: The registered version of the incumbent that it was compared with, if any.
        reference: The model of the first condition: `champion`, or the best baseline if there is none.
        promote: Whether the challenger may replace the champion.
        needs_approval: Whether a person must approve the promotion, because the gain is small.
        summary: The decision and its reasons in words.
        bundle_digest: Digest of the model that was judged.
        metrics_digest: Digest of `evaluate/details.json`.
        conditions: The fields of `tasks.gate.Condition` for each condition.
    """

    night: str
    champion: str | None
    incumbent: str | None
    reference: str
    promote: bool
    needs_approval: bool
    summary: str
    bundle_digest: str
    metrics_digest: str
    conditions: tuple[dict, ...]

    @property
    def compared_champions(self) -> list[str | None]:
        """The champions that the challenger may replace. None stands for no champion."""
        return [self.champion] + ([self.incumbent] if self.incumbent else [])


def night_outcome(promote: bool, promotion: Mapping[str, Any]) -> str:
    """Return how a night ended: promoted, not promoted although the gate allowed it, or refused.

    A promotion can lack the approval of a person, meet a freeze, or be left out in an experiment.

    Args:
        promote: Whether the gate allowed it.
        promotion: The facts of the step `promote`.
    """
    if not promote:
        return REFUSED
    version = promotion.get("version")
    return PROMOTED if version is not None and version == promotion.get("champion") else NOT_PROMOTED


def read_verdict(night: Night) -> Verdict:
    """Read the verdict of a night.

    Raises:
        InputError: The file is missing, unreadable, of another night, or does not match the schema.
    """
    path = night.require_output("gate", "verdict.json")
    remedy = f"run `python -m tasks.gate --night {night.day}` again"
    try:
        verdict: Verdict = schema.build_dataclass(Verdict, read_json(path, remedy), str(path))
    except InputError as error:
        message = str(error)
        raise InputError(message if remedy in message else f"{message} ({remedy})") from None
    if verdict.night != str(night.day):
        raise InputError(f"{path}: night is {verdict.night}, not {night.day}; {remedy}")
    return verdict
