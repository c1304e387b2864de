"""Parquet files that are written part by part, so that no process holds a whole one."""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


class ParquetParts:
    """Parquet files in a folder. Each is created with its first part. The `with` block completes them.

    Args:
        folder: The folder.

    Attributes:
        num_rows: Name of each file -> rows that were written.
    """

    def __init__(self, folder: Path) -> None:
        self.num_rows = Counter[str]()
        self._folder = folder
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._files = ExitStack()

    def __enter__(self) -> "ParquetParts":
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def append(self, name: str, part: pa.Table) -> None:
        """Append rows to the file `<name>.parquet`. All parts of a file have the same columns."""
        if name not in self._writers:
            writer = pq.ParquetWriter(self._folder / f"{name}.parquet", part.schema)
            self._writers[name] = self._files.enter_context(writer)
        self._writers[name].write_table(part)
        self.num_rows[name] += part.num_rows
