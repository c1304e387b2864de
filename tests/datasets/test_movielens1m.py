"""MovieLens-1M: the split, text and profiles, and refused input."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from core.errors import InputError
from datasets.landing_form import Record
from datasets.movielens1m import read_sequences, read_split
from tests.support.releases import write_movielens1m

LINES = ("1 1 2 3 4", "2 4 2 1")


def embed(films: list[Record]) -> tuple[Tensor, Tensor]:
    """One feature for each film: the number of its genres."""
    genres = torch.tensor([[float(len(film["hashtags"]))] for film in films])
    return genres, torch.tensor([bool(film["caption"]) for film in films])


def test_the_last_film_is_the_test_and_the_one_before_it_the_validation(tmp_path: Path) -> None:
    split = read_split(write_movielens1m(tmp_path, *LINES), embed)
    assert split.train.sequences.video_E.tolist() == [0, 1, 3]
    assert split.train.targets.row_P.tolist() == [2, 1]
    assert split.test.sequences.video_E.tolist() == [0, 1, 2, 3, 1]
    assert split.test.targets.row_P.tolist() == [3, 0]
    assert split.test.seen_items.mask(torch.tensor([0]), 4).tolist() == [[True, True, True, False]]
    assert (split.item_table.id_row_V >= 0).tolist() == [True, True, False, True]


def test_text_and_profiles_belong_to_their_films_and_users(tmp_path: Path) -> None:
    folder = write_movielens1m(tmp_path, *LINES, films=5)
    (folder / "users.csv").write_text("user,sex,age,occupation\n1,M,25,3\n2,,56,3\n")
    titles = (folder / "items.csv").read_text().replace('"Film 5, The (1990)"', "")
    (folder / "items.csv").write_text(titles)
    films: list[Record] = []
    split = read_split(folder, lambda records: films.extend(records) or embed(records))
    assert films[0] == {"caption": "Film 1, The (1990)", "hashtags": ["Drama"]}
    assert split.item_table.modality_features["text"].squeeze(1).tolist() == [1, 1, 2, 2, 2]
    assert split.item_table.has_VM.squeeze(1).tolist() == [True] * 4 + [False]
    assert split.config_fields["modalities"] == {"text": 1}
    assert split.config_fields["user_categorical_features"] == {
        "sex": ["M"],
        "age": ["25", "56"],
        "occupation": ["3"],
    }
    assert split.user_profiles.category_BJ.tolist() == [[1, 1, 1], [0, 2, 1]]


def test_without_content_only_ids_are_left(tmp_path: Path) -> None:
    split = read_split(write_movielens1m(tmp_path, *LINES), embed)
    bare = split.without_content()
    assert (bare.item_table.modality_features, bare.config_fields) == ({}, {})
    assert torch.equal(bare.item_table.id_row_V, split.item_table.id_row_V)
    assert bare.user_profiles.category_BJ.shape == (2, 0)
    assert bare.train is split.train
    assert bare.test is split.test


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sequences\.txt does not exist; give the folder"):
        read_sequences(tmp_path)
    (write_movielens1m(tmp_path, *LINES) / "users.csv").unlink()
    with pytest.raises(InputError, match=r"lacks users\.csv"):
        read_split(tmp_path, embed)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("sequences.txt", "1 1 2 3\n3 1 2 3\n", r"sequences\.txt, line 2: the user is 3, not 2; get"),
        ("sequences.txt", "1 1 2 3\n2 1 x 3\n", r"sequences\.txt, line 2: .* is not a user and items"),
        ("sequences.txt", "1 1 2 3\n2 1 2\n", r"sequences\.txt, line 2: 2 items; at least 3 are needed"),
        ("sequences.txt", "1 1 2 3\n2 1 9 3\n", r"line 2: item 9 is not in items\.csv; use files of one"),
        ("sequences.txt", "1 1 2 3\n", r"has 1 users, but users\.csv has 2; use files of one release"),
        ("users.csv", "user,sex,age,occupation\n1,M,1,1\n1,M,1,1\n", r"users\.csv, line 3: user is 1, not 2"),
        ("users.csv", "user,sex,age\n1,M,1\n2,M,1\n", r"users\.csv is not the expected table .*occupation"),
        ("users.csv", "user,sex,age,occupation\n", r"users\.csv has no rows"),
        (
            "items.csv",
            "item,title,genres\n2,A,B\n",
            r"items\.csv, line 2: item is 2, not 1; get",
        ),
        ("items.csv", "item,title,genres\none,A,B\n", r"items\.csv has no rows .*1 invalid_item"),
    ],
)
def test_an_invalid_file_is_refused_with_its_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (write_movielens1m(tmp_path, *LINES) / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_split(tmp_path, embed)


@pytest.mark.shared_data
def test_the_real_release_is_complete(shared_data: Path) -> None:
    split = read_split(shared_data / "movielens1m", embed)
    lengths = split.test.sequences.lengths
    assert (len(lengths), int(lengths.sum()) + len(lengths)) == (6040, 999_611)
    assert len(split.item_table.id_row_V) == 3416
    assert bool(split.item_table.has_VM.all())
    sizes = {name: len(values) for name, values in split.config_fields["user_categorical_features"].items()}
    assert sizes == {"sex": 2, "age": 7, "occupation": 21}
