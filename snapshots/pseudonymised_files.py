"""Replace the user ids in the Parquet files of a snapshot by pseudonyms.

The rows are sorted by pseudonym. In the order of the ids, the position of a row would show whose it is.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.pseudonyms import PseudonymKey
from snapshots.parquet_parts import ParquetParts

USER_ID = "user_id"
BUCKET_BYTES = 1 << 28  # of a bucket's rows, which are sorted in memory
PREFIX_BITS = 32  # of a pseudonym; they choose its bucket


def pseudonymise_files(folder: Path, key: PseudonymKey) -> None:
    """Replace the column `user_id` in all Parquet files of a folder. Files without it stay as they are.

    Rows of one user stay in their order. Memory holds one row group or one bucket at a time.

    Args:
        folder: The folder.
        key: The key of the pseudonyms.
    """
    for path in sorted(folder.glob("*.parquet")):
        if USER_ID in pq.read_schema(path).names:
            _pseudonymise_file(path, key)


def _pseudonymise_file(path: Path, key: PseudonymKey) -> None:
    """Divide the rows into buckets by pseudonym, then write the sorted rows of one bucket after the other."""
    with pq.ParquetFile(path) as file, TemporaryDirectory(dir=path.parent, prefix=".") as name:
        folder, schema = Path(name), file.schema_arrow
        num_buckets = 1 + _num_bytes(file) // BUCKET_BYTES
        with ParquetParts(folder) as buckets:
            for group in range(file.num_row_groups):
                for bucket, rows in _divide(file.read_row_group(group), key, num_buckets):
                    buckets.append(str(bucket), rows)
        with pq.ParquetWriter(folder / path.name, schema) as writer:
            for part in (folder / f"{bucket}.parquet" for bucket in range(num_buckets)):
                if part.exists():
                    writer.write_table(pq.ParquetFile(part).read().sort_by(USER_ID))
        (folder / path.name).replace(path)


def _num_bytes(file: pq.ParquetFile) -> int:
    """Return the size of the rows without compression."""
    groups = range(file.num_row_groups)
    return sum(file.metadata.row_group(group).total_byte_size for group in groups)


def _divide(rows: pa.Table, key: PseudonymKey, num_buckets: int) -> Iterator[tuple[int, pa.Table]]:
    """Yield each bucket with its rows, which have pseudonyms in place of ids.

    Each id is hashed once. All pseudonyms of a bucket are smaller than those of the next one.
    """
    ids = rows[USER_ID].combine_chunks().dictionary_encode()
    pseudonyms = [key.pseudonym(user_id) for user_id in ids.dictionary.to_pylist()]
    prefixes = np.array([int(text[: PREFIX_BITS // 4], 16) for text in pseudonyms], np.uint64)
    row_N = ids.indices.to_numpy()
    bucket_N = ((prefixes * num_buckets) >> PREFIX_BITS)[row_N]
    column = pa.array(pseudonyms, ids.dictionary.type).take(ids.indices)
    position = rows.column_names.index(USER_ID)
    rows = rows.set_column(position, rows.schema.field(position), column)
    for bucket in np.unique(bucket_N).tolist():
        yield bucket, rows.filter(pa.array(bucket_N == bucket))
