"""Sequences of items without times, and the split of the published tables for them.

A line of a file is a user and then the items of the user, oldest first, counted from 1. The last item of a
sequence is the test target, the one before it the validation target, and the others are for training. The
test reads the sequence up to the validation item. All items are ranked, and those of the sequence are masked.

A night is split by time, so this split is only for comparison with published tables.
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

MIN_ITEMS = 3


def read_item_sequences(file: Path, numbered_users: bool = False) -> list[list[int]]:
    """Read the items of each user, oldest first, counted from 0.

    Args:
        file: The file.
        numbered_users: The user of each line must be the number of the line, because another file describes
            the users in the same order.

    Raises:
        InputError: The file is missing or empty, a line holds something else than numbers, a sequence has
            fewer than three items, or a user is not the expected one.
    """
    if not file.is_file():
        raise InputError(f"{file} does not exist; give the folder that holds {file.name}")
    lines = file.read_text(encoding="utf-8").splitlines()
    sequences = [_items(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]
    if not sequences:
        raise InputError(f"{file} holds no sequence; get the original file of the release")
    for number, line in enumerate(lines, 1) if numbered_users else ():
        if int(user := line.split()[0]) != number:
            raise InputError(
                f"{file}, line {number}: the user is {user}, not {number}; "
                "get the original file of the release"
            )
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


def split_leave_last_out(sequences: list[list[int]]) -> SplitDataset:
    """Split sequences without content and profiles."""
    videos = 1 + max(max(sequence) for sequence in sequences)
    train, test = leave_last_out_folds(sequences)
    no_content = torch.zeros(videos, 0, dtype=torch.bool)
    item_table = ItemTable({}, no_content, trained_id_rows(train.sequences, videos))
    return SplitDataset(item_table, empty_profiles(len(sequences)), train, test, {})


def leave_last_out_folds(sequences: list[list[int]]) -> tuple[Fold, Fold]:
    """Return the training fold with the validation targets, and the test fold."""
    train, test = (_fold_before(sequences, num_held_out) for num_held_out in (2, 1))
    return train, test


def _fold_before(sequences: list[list[int]], num_held_out: int) -> Fold:
    """Make a fold whose target is the first of the last `num_held_out` items."""
    inputs = [sequence[:-num_held_out] for sequence in sequences]
    lengths = torch.tensor([*map(len, inputs)])
    known_sequences = id_only_sequences(lengths, torch.tensor([v for s in inputs for v in s]))
    target_B = torch.tensor([sequence[-num_held_out] for sequence in sequences])
    return make_fold(known_sequences, Targets(torch.arange(len(inputs)), target_B))
