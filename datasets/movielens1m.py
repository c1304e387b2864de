"""MovieLens-1M in the order of the SASRec release (GroupLens research terms): sequences, text and profiles.

| file | column | becomes |
|---|---|---|
| `sequences.txt` | first number of a line | the user; line n is user n |
| | the other numbers, oldest first, from 1 | the sequence of the user, with films counted from 0 |
| `users.csv` | `user` | row n is user n |
| | `sex`, `age` (band), `occupation` (code) | profile columns of the same names |
| `items.csv` | `item` | row n is film n |
| | `title`, `genres` (separated by a bar) | text of the film |

There are no times, so there is no landing form and no night. datasets/leave_last_out.py describes the split.
Every rating is a positive, as in the published tables.
"""

from collections.abc import Callable
from pathlib import Path

import polars as pl
from torch import Tensor

from core.errors import InputError
from datasets.landing_form import Record, require_files
from datasets.leave_last_out import leave_last_out_folds, read_item_sequences
from datasets.release_tables import CellType, read_table
from datasets.split import SplitDataset, categorical_profiles, trained_id_rows
from models.data.items import ItemTable

SEQUENCES_FILE, USERS_FILE, ITEMS_FILE = "sequences.txt", "users.csv", "items.csv"
PROFILE_COLUMNS = ("sex", "age", "occupation")
USERS: dict[str, CellType] = {"user": pl.Int64, **dict.fromkeys(PROFILE_COLUMNS, pl.String)}
ITEMS: dict[str, CellType] = {"item": pl.Int64, "title": pl.String, "genres": pl.String}


def read_sequences(path: Path) -> list[list[int]]:
    """Read the films of each user, oldest first, counted from 0.

    Raises:
        InputError: As `read_item_sequences`.
    """
    return read_item_sequences(path / SEQUENCES_FILE, numbered_users=True)


def read_split(path: Path, embed_texts: Callable[[list[Record]], tuple[Tensor, Tensor]]) -> SplitDataset:
    """Read the release and hold out the last two films of each sequence.

    Args:
        path: Folder of the release.
        embed_texts: Function from the films, with `caption` and `hashtags`, to their text embeddings [V, F],
            and whether each film has a text [V].

    Raises:
        InputError: A file or column is missing, a line is malformed, or the files do not match.
    """
    require_files(path, (SEQUENCES_FILE, USERS_FILE, ITEMS_FILE))
    sequences = read_sequences(path)
    users = _read_numbered(path / USERS_FILE, USERS)
    films = _read_numbered(path / ITEMS_FILE, ITEMS)
    _require_described(sequences, len(users), len(films), path)
    train, test = leave_last_out_folds(sequences)
    text_VF, has_V = embed_texts([*map(_film_record, films)])
    profiles, categories = categorical_profiles(
        {column: [user[column] for user in users] for column in PROFILE_COLUMNS}
    )
    config_fields = {
        "modalities": {"text": text_VF.shape[1]},
        "encoder_fingerprints": {"text": "-"},
        "user_categorical_features": categories,
    }
    item_table = ItemTable({"text": text_VF}, has_V[:, None], trained_id_rows(train.sequences, len(films)))
    return SplitDataset(item_table, profiles, train, test, config_fields)


def _read_numbered(file: Path, columns: dict[str, CellType]) -> list[Record]:
    """Read a table whose first column counts the rows from 1. Any other cell may be empty.

    Raises:
        InputError: As `read_table`, or a row was rejected or has another number.
    """
    number_column, *others = columns
    records = read_table(file, columns, optional=others).require_complete().records()
    for number, record in enumerate(records, 1):
        if record[number_column] != number:
            raise InputError(
                f"{file}, line {number + 1}: {number_column} is {record[number_column]}, not {number}; "
                "get the original file of the release"
            )
    return records


def _require_described(sequences: list[list[int]], num_users: int, num_films: int, path: Path) -> None:
    """Check that the tables describe every user and every film of the sequences.

    Raises:
        InputError: They do not.
    """
    remedy = "use files of one release"
    if len(sequences) != num_users:
        raise InputError(
            f"{path / SEQUENCES_FILE} has {len(sequences)} users, but {USERS_FILE} has {num_users}; {remedy}"
        )
    for number, sequence in enumerate(sequences, 1):
        if (highest := max(sequence) + 1) > num_films:
            raise InputError(
                f"{path / SEQUENCES_FILE}, line {number}: item {highest} is not in {ITEMS_FILE}; {remedy}"
            )


def _film_record(film: Record) -> Record:
    return {"caption": film["title"], "hashtags": (film["genres"] or "").replace("|", " ").split()}
