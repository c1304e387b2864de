"""The gate's verdict as a file: what `gate` writes, and what `promote` and `report` read, strictly."""

from dataclasses import dataclass

from contracts import strict
from contracts.errors import InputError
from contracts.place import Night
from contracts.receipts import read_json


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, and of what.

    Attributes:
        champion, incumbent: the registered versions that the challenger was compared with, if any.
        rival: the model that it had to beat first.
        bundle: digest of the model that was judged.
        metrics: digest of the evaluation that the gate read.
        conditions: each as in `tasks/gate.py`.
    """

    night: str
    champion: str | None
    incumbent: str | None
    rival: str
    promote: bool
    summary: str
    bundle: str
    metrics: str
    conditions: tuple[dict, ...]

    @property
    def compared(self) -> list[str | None]:
        """The champions that it may replace; None: that there was none."""
        return [self.champion] + ([self.incumbent] if self.incumbent else [])


def read_verdict(night: Night) -> Verdict:
    """The verdict of a night.

    Raises:
        InputError: it is missing, broken, of another night, or not of this form.
    """
    path = night.output("gate", "verdict.json")
    remedy = f"`python -m tasks.gate --night {night.day}` writes it anew"
    try:
        verdict: Verdict = strict.build(Verdict, read_json(path, remedy), str(path))
    except InputError as error:
        told = str(error)
        raise InputError(told if remedy in told else f"{told} ({remedy})") from None
    if verdict.night != str(night.day):
        raise InputError(f"{path}: night is {verdict.night}, not {night.day}; {remedy}")
    return verdict
