"""What the lake remembers of each cleaned day, next to the day's interactions.

It is stored in the same transaction as the rows. So the two cannot disagree.
"""

from dataclasses import dataclass
from datetime import date

from lake.client import Lake

SEPARATOR = "|"  # in `Lake.input_digests`, between the values of a day


@dataclass(frozen=True)
class CleanedDay:
    """The inputs of a day's rows, and the state of the lake that they were last compared with.

    Attributes:
        input_digest: digest of the inputs of the rows. Days with equal digests have equal rows.
        catalogue_key: the catalogue that the rows agree with (`catalogue_changes.catalogue_key`).
        received_digest: the received files that the rows agree with (`event_changes.received_digests`).
    """

    input_digest: str
    catalogue_key: str
    received_digest: str

    @property
    def events_digest(self) -> str:
        """The part of the input digest that depends on events and parameters (`event_changes`)."""
        return self.input_digest.partition(".")[0]

    def to_text(self) -> str:
        """Return the text that `Lake.commit` stores."""
        return SEPARATOR.join((self.input_digest, self.catalogue_key, self.received_digest))

    @classmethod
    def from_text(cls, text: str) -> "CleanedDay":
        """Return the day of a stored text. Values that an older version did not store are empty."""
        input_digest, catalogue_key, received_digest = [*text.split(SEPARATOR), "", ""][:3]
        return cls(input_digest, catalogue_key, received_digest)


BEING_REPLACED = CleanedDay("", "", "")  # agrees with no state, so that a killed run is repeated


def cleaned_days(lake: Lake) -> dict[date, CleanedDay]:
    """Return what the lake remembers of each cleaned day."""
    texts = lake.input_digests("interactions")
    return {date.fromisoformat(day): CleanedDay.from_text(text) for day, text in texts.items()}
