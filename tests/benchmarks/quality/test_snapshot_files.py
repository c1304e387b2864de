from pathlib import Path

import pytest
import torch

from benchmarks.quality.snapshot_files import TEST_DAY, write_snapshot
from core.paths import Night
from datasets.leave_last_out import split_leave_last_out
from snapshots.reader import SnapshotReader

SEQUENCES = [[0, 1, 2, 3], [3, 2, 0, 4, 1], [1, 4, 2]]


@pytest.fixture
def snapshot(tmp_path: Path) -> SnapshotReader:
    night = Night(TEST_DAY, tmp_path)
    write_snapshot(split_leave_last_out(SEQUENCES), night)
    return SnapshotReader(night)


@pytest.mark.parametrize(("fold", "held_out"), [("valid_1", 2), ("test", 1)])
def test_a_fold_knows_the_sequence_before_its_target(
    snapshot: SnapshotReader, fold: str, held_out: int
) -> None:
    content = snapshot.content_fold(fold)
    sequences = content.users.sequences
    known = [row.tolist() for row in sequences.video_E.split(sequences.lengths.tolist())]
    assert known == [sequence[:-held_out] for sequence in SEQUENCES]
    assert content.targets.user_P.tolist() == [0, 1, 2]
    assert content.targets.row_P.tolist() == [sequence[-held_out] for sequence in SEQUENCES]


def test_only_known_videos_are_masked(snapshot: SnapshotReader) -> None:
    for fold, held_out in (("valid_1", 2), ("test", 1)):
        mask_BV = snapshot.seen_items(fold).mask(torch.arange(3), 5)
        assert [set(row.nonzero().flatten().tolist()) for row in mask_BV] == [
            set(sequence[:-held_out]) for sequence in SEQUENCES
        ]


def test_a_night_of_another_day_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(TEST_DAY)):
        write_snapshot(split_leave_last_out(SEQUENCES), Night(TEST_DAY.replace(day=4), tmp_path))
