"""What a night's files say, held to the form that we read; a broken one is told by name."""

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class UnreadableError(RuntimeError):
    """A file of a night is missing or not as its step writes it; the message says which and why."""


class Check(msgspec.Struct):
    table: str
    figure: str
    meaning: str
    severity: str
    outcome: str


class Checks(msgspec.Struct):
    """check/results.json"""

    outcome: str
    checks: list[Check]


class Verdict(msgspec.Struct):
    """gate/verdict.json"""

    promote: bool
    summary: str


class Metrics(msgspec.Struct):
    """evaluate/metrics.json"""

    primary: str
    models: dict[str, dict[str, Any]]


class Promoted(msgspec.Struct):
    champion: str | None


class Promotion(msgspec.Struct):
    """receipts/promote.json"""

    facts: Promoted


def checks(night: Path) -> Checks:
    return _read(night, "check/results.json", Checks)


def verdict(night: Path) -> Verdict:
    return _read(night, "gate/verdict.json", Verdict)


def promotion(night: Path) -> Promotion:
    return _read(night, "receipts/promote.json", Promotion)


def ndcg(night: Path) -> dict[str, float]:
    """Model -> the figure that the gate decides by.

    Raises:
        UnreadableError: the metrics are not as `evaluate` writes them.
    """
    name = "evaluate/metrics.json"
    metrics = _read(night, name, Metrics)
    found = {model: figures.get(metrics.primary) for model, figures in metrics.models.items()}
    for model, figure in found.items():
        if not isinstance(figure, int | float):
            raise UnreadableError(f"{name}: models.{model} has no figure {metrics.primary!r}")
    return {model: float(figure) for model, figure in found.items() if figure is not None}


def _read(night: Path, name: str, form: type[T]) -> T:
    try:
        return msgspec.convert(json.loads((night / name).read_text(encoding="utf-8")), form)
    except OSError as error:
        raise UnreadableError(f"{name}: {error.strerror}") from None
    except msgspec.ValidationError as error:
        raise UnreadableError(f"{name}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{name}: not JSON ({error})") from None
