"""Notice that the platform changed the form of its records.

One bad record is a reject. A field that is missing or has another type in all records of a file is a change
of the schema. Its file is refused before anything is committed, so that a night never trains on half a log.
"""

from collections import Counter

from core.errors import InputError
from core.records import LandingType
from lake.landing_batches import LandingBatch

MIN_RECORDS = 20  # of a file that is judged; fewer may be bad by chance


class FileSchema:
    """How many records of a file lack a required field, and how many have a field of another type.

    Args:
        landing_type: the landing type of the file.
    """

    def __init__(self, landing_type: LandingType) -> None:
        self._landing_type = landing_type
        self._num_records = 0
        self._missing = Counter[str]()
        self._wrong: dict[str, str] = {}  # field -> the text of its first reject
        self._num_wrong = Counter[str]()

    def add(self, batch: LandingBatch) -> None:
        """Count the records of a batch. A record that could not be read at all is left out."""
        self._num_records += batch.rows.num_rows
        for field in self._landing_type.required:
            self._missing[field] += batch.rows[field].null_count
        for _, _, rejected in batch.rejects:
            if rejected.field is not None:
                self._num_records += 1
                self._num_wrong[rejected.field] += 1
                self._wrong.setdefault(rejected.field, str(rejected))

    def merge(self, later: "FileSchema") -> None:
        """Add the counts of a later part of the file."""
        self._num_records += later._num_records
        self._missing.update(later._missing)
        self._num_wrong.update(later._num_wrong)
        self._wrong = later._wrong | self._wrong

    def require_unchanged(self, path: object) -> None:
        """Check that no field is missing or has another type in all records.

        Args:
            path: the file, for the message.

        Raises:
            InputError: the schema has changed. The message names the file and the field.
        """
        if self._num_records < MIN_RECORDS:
            return
        for field in {**self._missing, **self._num_wrong}:
            if self._missing[field] + self._num_wrong[field] < self._num_records:
                continue
            example = f" ({self._wrong[field]})" if field in self._wrong else ""
            raise InputError(
                f"{path}: field {field!r} is missing or has another type in all {self._num_records} records"
                f"{example}; deliver the file again as docs/data-contract.md says, or move it away"
            )
