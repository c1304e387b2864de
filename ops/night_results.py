"""Read the result files of a night and validate their form."""

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class UnreadableFileError(RuntimeError):
    """A file of a night is missing or malformed. The message names the file and the problem."""


class Expectation(msgspec.Struct):
    """One data check of `check/results.json`."""

    table: str
    metric: str
    description: str
    severity: str
    outcome: str


class CheckResults(msgspec.Struct):
    """The contents of `check/results.json`."""

    outcome: str
    expectations: list[Expectation]


class Verdict(msgspec.Struct):
    """The contents of `gate/verdict.json`."""

    promote: bool
    summary: str
    needs_approval: bool = False  # verdicts of earlier versions lack it
    conditions: list[dict[str, Any]] = msgspec.field(default_factory=list)


class Metrics(msgspec.Struct):
    """The contents of `evaluate/details.json`."""

    primary_metric: str
    models: dict[str, dict[str, Any]]


class Promoted(msgspec.Struct):
    """The facts that `promote` records."""

    champion: str | None
    version: str | None = None


class Promotion(msgspec.Struct):
    """The contents of `run_manifests/promote.json`."""

    facts: Promoted

    @property
    def is_new_champion(self) -> bool:
        """Whether the night's model is the champion."""
        return self.facts.champion is not None and self.facts.champion == self.facts.version


def read_check_results(night: Path) -> CheckResults:
    """Read the results of the data checks.

    Args:
        night: folder of the night.

    Raises:
        UnreadableFileError: the file is missing or malformed.
    """
    return _read_as(night, "check/results.json", CheckResults)


def read_verdict(night: Path) -> Verdict:
    """Read the gate's verdict.

    Raises:
        UnreadableFileError: the file is missing or malformed.
    """
    return _read_as(night, "gate/verdict.json", Verdict)


def read_promotion(night: Path) -> Promotion:
    """Read the run manifest of `promote`.

    Raises:
        UnreadableFileError: the file is missing or malformed.
    """
    return _read_as(night, "run_manifests/promote.json", Promotion)


def read_ndcg(night: Path) -> dict[str, float]:
    """Read the gate's primary metric of each model.

    Returns:
        model -> value.

    Raises:
        UnreadableFileError: the file is missing or malformed, or a model lacks the metric.
    """
    name = "evaluate/details.json"
    metrics = _read_as(night, name, Metrics)
    values = {model: figures.get(metrics.primary_metric) for model, figures in metrics.models.items()}
    for model, value in values.items():
        if not isinstance(value, int | float):
            raise UnreadableFileError(f"{name}: models.{model} has no number {metrics.primary_metric!r}")
    return {model: float(value) for model, value in values.items() if value is not None}


def _read_as(night: Path, name: str, schema: type[T]) -> T:
    try:
        return msgspec.convert(json.loads((night / name).read_text(encoding="utf-8")), schema)
    except OSError as error:
        raise UnreadableFileError(f"{name}: {error.strerror}") from None
    except msgspec.ValidationError as error:
        raise UnreadableFileError(f"{name}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(f"{name}: not JSON ({error})") from None
