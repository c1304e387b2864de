"""Beauty in the form of ICLRec (BSD-3; Amazon review data): sequences of item IDs, no times, no media.

| file | column | becomes |
|---|---|---|
| `Beauty.txt` | first number of a line | not used; the users are counted by line |
| | the other numbers, oldest first, from 1 | the sequence of the user, with items counted from 0 |

There are no times, so there is no landing form and no night. datasets/leave_last_out.py describes the split.
"""

from pathlib import Path

from datasets.leave_last_out import read_item_sequences, split_leave_last_out
from datasets.split import SplitDataset

SEQUENCES_FILE = "Beauty.txt"


def read_sequences(path: Path) -> list[list[int]]:
    """Read the items of each user, oldest first, counted from 0.

    Raises:
        InputError: As `read_item_sequences`.
    """
    return read_item_sequences(path / SEQUENCES_FILE)


def read_split(path: Path) -> SplitDataset:
    """Read the release and hold out the last two items of each sequence.

    Raises:
        InputError: As `read_item_sequences`.
    """
    return split_leave_last_out(read_sequences(path))
