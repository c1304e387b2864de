"""Find the records of some users: in columns, in refused records and in texts."""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

USER_ID = "user_id"


class UserRecords:
    """Decides whether a row, a record or a text belongs to one of some users.

    Attributes:
        user_ids: the ids of the users.
    """

    def __init__(self, user_ids: Collection[str]) -> None:
        self.user_ids = frozenset(user_ids)
        ids = sorted(self.user_ids)
        words = "|".join(map(re.escape, ids))
        names = "|".join(re.escape(user_id) for user_id in ids if not user_id.isdigit())
        self._mention = re.compile(rf"(?<![\w-])(?:{words})(?![\w-])")
        self._on_page = re.compile(
            rf">\s*(?:{words})\s*<" + (rf"|(?<![\w-])(?:{names})(?![\w-])" if names else "")
        )
        forms = [json.dumps(user_id, ensure_ascii=ascii) for user_id in ids for ascii in (True, False)]
        # The strings that are values, not keys.
        self._json_string = re.compile(rf"(?:{'|'.join(map(re.escape, forms))})(?!\s*:)")
        # JSON may also write any character as an escape.
        candidates = {*ids, *(form[1:-1] for form in forms), "\\u", "\\/"}
        self._candidate = "|".join(re.escape(form) for form in sorted(candidates))

    def are_in(self, column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
        """Return for each value of a column of ids whether it is one of the users. Numbers count as text."""
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_floating(column.type):
            numbers = [float(user_id) for user_id in self.user_ids if user_id.isdigit()]
            return pc.is_in(column.cast(pa.float64()), pa.array(numbers, pa.float64()))
        if pa.types.is_integer(column.type):
            column = column.cast(pa.string())
        if not _is_text(column.type):
            return pa.array(np.zeros(len(column), bool))
        ids = pa.array([user_id.encode() for user_id in sorted(self.user_ids)], pa.large_binary())
        return pc.is_in(column.cast(pa.large_binary()), ids)

    def are_in_rejects(self, records: pa.Array) -> pa.Array:
        """Return for each value of `rejects.record` whether the record belongs to one of the users."""
        candidates = pc.fill_null(pc.match_substring_regex(records, self._candidate), False)
        return pa.array(
            [
                is_candidate and self.is_in_record(text.partition("\n")[2] or text)
                for is_candidate, text in zip(candidates.to_pylist(), records.to_pylist(), strict=True)
            ],
            pa.bool_(),
        )

    def is_in_record(self, text: str) -> bool:
        """Return whether a record belongs to one of the users.

        The field `user_id` decides. A record without a readable one belongs to a user whom it mentions.
        """
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            record = None
        user_id = record.get(USER_ID) if isinstance(record, Mapping) else None
        return self.is_mentioned(text) if user_id is None else _id_text(user_id) in self.user_ids

    def is_mentioned(self, text: str) -> bool:
        """Return whether a text has the id of one of the users as a word."""
        return bool(self._mention.search(text))

    def is_on_page(self, text: str) -> bool:
        """Return whether a web page names one of the users. A number must be the whole text of an element."""
        return bool(self._on_page.search(text))

    def mask_json(self, text: str) -> tuple[str, int]:
        """Return JSON with `forgotten` in place of the strings that are an id, and their number."""
        return self._json_string.subn('"forgotten"', text)

    def may_be_in(self, file: IO[bytes]) -> bool:
        """Return whether a file of JSON may hold a record of one of the users. It is read in chunks."""
        candidate = re.compile(self._candidate.encode())
        overlap = max(len(user_id.encode()) for user_id in self.user_ids)
        tail = b""
        while chunk := file.read(1 << 20):
            if candidate.search(tail + chunk):
                return True
            tail = chunk[-overlap:]
        return False

    def count_in_parquet(self, file: Path | IO[bytes]) -> int:
        """Count the rows of the users in a Parquet file. A file without the column `user_id` has none."""
        parquet = pq.ParquetFile(file)
        if USER_ID not in parquet.schema_arrow.names:
            return 0
        batches = parquet.iter_batches(columns=[USER_ID])
        return sum(count_true(self.are_in(batch.column(0))) for batch in batches)


def count_true(mask: pa.Array) -> int:
    """Count the true values of a mask."""
    return pc.sum(mask).as_py() or 0


def _is_text(arrow_type: pa.DataType) -> bool:
    return (
        pa.types.is_string(arrow_type)
        or pa.types.is_large_string(arrow_type)
        or pa.types.is_string_view(arrow_type)
        or pa.types.is_binary(arrow_type)
        or pa.types.is_large_binary(arrow_type)
    )


def _id_text(value: Any) -> str:
    """Return an id as `core.records` does. The float 5.0 is the id 5."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
