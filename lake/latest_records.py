"""The newest record of each key in a table that keeps every record as received."""

import numpy as np
import pyarrow as pa


def latest_records(table: pa.Table, key: str) -> pa.Table:
    """Return the newest record of each key, sorted by key.

    Args:
        table: rows with the columns `day`, `source_file` and `source_line`, which order the records of a key.
        key: the column of the keys, such as `video_id`.
    """
    order = [
        (key, "ascending"),
        ("day", "descending"),
        ("source_file", "descending"),
        ("source_line", "descending"),
    ]
    ordered = table.sort_by(order)
    keys = ordered[key].to_numpy(zero_copy_only=False)
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    return ordered.filter(pa.array(first)).combine_chunks()
