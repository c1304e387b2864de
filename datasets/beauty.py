"""Beauty in the form of ICLRec (BSD-3; Amazon review data): sequences of item IDs, no times, no media.

| file | column | becomes |
|---|---|---|
| `Beauty.txt` | first number of a line | not used; the users are counted by line |
| | the other numbers, oldest first, from 1 | the sequence of the user, with items counted from 0 |

There are no times, so there is no landing form and no night. The split is the published one: the last item of
a sequence is the test target, the one before it the validation target, and the others are for training. The
test reads the sequence up to the validation item. A night is split by time, so this split is only for
comparison with published tables.
"""

from pathlib import Path

import torch

from core.errors import InputError
from datasets.split import (
    Fold,
    SplitDataset,
    empty_profiles,
    id_only_sequences,
    make_fold,
    trained_id_rows,
)
from models.data.items import ItemTable
from models.data.targets import Targets

SEQUENCES_FILE = "Beauty.txt"
MIN_ITEMS = 3


def read_sequences(path: Path) -> list[list[int]]:
    """Read the items of each user, oldest first, counted from 0.

    Raises:
        InputError: The file is missing or empty, a line holds something else than numbers, or a sequence has
            fewer than three items.
    """
    file = path / SEQUENCES_FILE
    if not file.is_file():
        raise InputError(f"{file} does not exist; give the folder that holds {SEQUENCES_FILE}")
    lines = file.read_text(encoding="utf-8").splitlines()
    sequences = [_items(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]
    if not sequences:
        raise InputError(f"{file} holds no sequence; get the original file of the release")
    return sequences


def _items(line: str, position: str) -> list[int]:
    """Return the items of one line. `position` is the file and line for the message of an error."""
    words = line.split()
    if not all(word.isascii() and word.isdigit() and word != "0" for word in words):
        raise InputError(
            f"{position}: {line[:40]!r} is not a user and items, "
            "written as whole numbers from 1 on; get the original file of the release"
        )
    if len(words) <= MIN_ITEMS:
        items = max(len(words) - 1, 0)
        raise InputError(
            f"{position}: {items} items; at least {MIN_ITEMS} are needed to train, validate and test"
        )
    return [int(word) - 1 for word in words[1:]]


def read_split(path: Path) -> SplitDataset:
    """Read the release and hold out the last two items of each sequence.

    Raises:
        InputError: As `read_sequences`.
    """
    return split_leave_last_out(read_sequences(path))


def split_leave_last_out(sequences: list[list[int]]) -> SplitDataset:
    """Hold out the last item of each sequence for the test, and the one before it for validation."""
    videos = 1 + max(max(sequence) for sequence in sequences)
    train, test = (_fold_before(sequences, num_held_out) for num_held_out in (2, 1))
    no_content = torch.zeros(videos, 0, dtype=torch.bool)
    item_table = ItemTable({}, no_content, trained_id_rows(train.sequences, videos))
    return SplitDataset(item_table, empty_profiles(len(sequences)), train, test, {})


def _fold_before(sequences: list[list[int]], num_held_out: int) -> Fold:
    """Make a fold whose target is the first of the last `num_held_out` items."""
    inputs = [sequence[:-num_held_out] for sequence in sequences]
    lengths = torch.tensor([*map(len, inputs)])
    known_sequences = id_only_sequences(lengths, torch.tensor([v for s in inputs for v in s]))
    target_B = torch.tensor([sequence[-num_held_out] for sequence in sequences])
    return make_fold(known_sequences, Targets(torch.arange(len(inputs)), target_B))
