"""The files in which Great Expectations stores suites and validations."""

from pathlib import Path
from typing import Any

from great_expectations.data_context.store import TupleFilesystemStoreBackend

from core.run_manifests import write_text


class WholeFileBackend(TupleFilesystemStoreBackend):
    """A folder whose files are written whole or not at all.

    Every night reads the suites and validations of earlier ones. Half a file, left by a killed step or a full
    disk, would stop them all.
    """

    def _set(self, key: Any, value: str, **_: Any) -> None:
        names = key if isinstance(key, tuple) else key.to_tuple()
        write_text(Path(self.full_base_directory) / self._convert_key_to_filepath(names), value)
