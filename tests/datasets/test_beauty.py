"""Beauty: the split and refused input."""

from pathlib import Path

import pytest
import torch

from core.errors import InputError
from datasets.beauty import read_sequences, read_split
from datasets.leave_last_out import split_leave_last_out
from tests.support.releases import write_beauty


def test_leave_last_out_split() -> None:
    split = split_leave_last_out([[0, 1, 2, 3], [3, 4, 5]])
    assert split.train.sequences.video_E.tolist() == [0, 1, 3]
    assert split.train.targets.row_P.tolist() == [2, 4]
    assert split.test.sequences.video_E.tolist() == [0, 1, 2, 3, 4]
    assert split.test.targets.row_P.tolist() == [3, 5]
    assert split.test.seen_items.mask(torch.tensor([1]), 6).tolist() == [
        [False, False, False, True, True, False]
    ]
    assert (split.item_table.id_row_V >= 0).tolist() == [True, True, False, True, False, False]


def test_items_are_counted_from_0(tmp_path: Path) -> None:
    folder = write_beauty(tmp_path, "1 1 2 3", "2 4 5 6 7")
    assert read_sequences(folder) == [[0, 1, 2], [3, 4, 5, 6]]
    assert read_split(folder).test.targets.row_P.tolist() == [2, 6]


def test_an_invalid_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Beauty\.txt does not exist; give the folder"):
        read_sequences(tmp_path)
    with pytest.raises(InputError, match=r"line 2: .* is not a user and items"):
        read_sequences(write_beauty(tmp_path, "1 1 2 3", "2 4 five 6"))
    with pytest.raises(InputError, match="line 2: 2 items; at least 3 are needed"):
        read_sequences(write_beauty(tmp_path, "1 1 2 3", "2 4 5"))
    with pytest.raises(InputError, match="holds no sequence"):
        read_sequences(write_beauty(tmp_path))


@pytest.mark.shared_data
def test_the_real_release_is_complete(shared_data: Path) -> None:
    sequences = read_sequences(shared_data / "beauty")
    assert (len(sequences), sum(map(len, sequences))) == (22_363, 198_502)
