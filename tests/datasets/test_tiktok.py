from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import InputError
from datasets import tiktok
from tests.support.releases import tiktok_pairs_of_two_groups, write_tiktok


def _write(folder: Path, splits: tuple[str, ...] = ("train", "train", "validation", "test")) -> Path:
    log = {"user_id": [0] * len(splits), "video_id": list(range(len(splits))), "split": list(splits)}
    pq.write_table(pa.table(log), folder / "interactions.parquet")
    np.save(folder / "image.npy", np.eye(4, 2, dtype=np.float16))
    np.save(folder / "audio.npy", np.ones((5, 3), np.float16))
    return folder


def test_splits_become_days_and_rows_of_the_arrays_become_vectors(tmp_path):
    days_by_type = tiktok.read_landing_form(_write(tmp_path)).days_by_type
    days = {
        day: [(e["video_id"], e["event_time"]) for e in rows] for day, rows in days_by_type["events"].items()
    }
    assert days == {
        date(2024, 1, 1): [("0", "2024-01-01T00:00:00Z"), ("1", "2024-01-01T00:01:00Z")],
        date(2024, 1, 2): [("2", "2024-01-02T00:00:00Z")],
        date(2024, 1, 3): [("3", "2024-01-03T00:00:00Z")],
    }
    features = days_by_type["features"][date(2024, 1, 1)]
    assert features[1] == {"video_id": "1", "modality": "visual", "vector": [0.0, 1.0]}
    assert features[-1] == {"video_id": "4", "modality": "audio", "vector": [1.0, 1.0, 1.0]}
    assert [video["video_id"] for video in days_by_type["videos"][date(2024, 1, 1)]] == [
        "0",
        "1",
        "2",
        "3",
        "4",
    ]


def test_an_unknown_split_and_a_repeated_pair_are_counted(tmp_path):
    _write(tmp_path)
    columns = {"user_id": [0, 0, 0, 0, None], "video_id": [0, 0, 1, 9, 1]}
    columns["split"] = ["train", "test", "holdout", "test", "test"]
    pq.write_table(pa.table(columns), tmp_path / "interactions.parquet")
    assert tiktok.read_landing_form(tmp_path).tables[0].rejected == {
        "duplicate_user_id_video_id": 1,
        "invalid_split": 1,
        "unknown_video_id": 1,
        "missing_user_id": 1,
    }


def test_a_broken_array_is_refused(tmp_path):
    _write(tmp_path)
    (tmp_path / "audio.npy").write_text("no array")
    with pytest.raises(InputError, match=r"audio\.npy is not a NumPy array"):
        tiktok.read_landing_form(tmp_path)


def test_an_id_that_is_no_number_is_refused(tmp_path):
    _write(tmp_path)
    table = pa.table({"user_id": ["a", "b"], "video_id": [0, 1], "split": ["train", "test"]})
    pq.write_table(table, tmp_path / "interactions.parquet")
    with pytest.raises(InputError, match="not the expected table"):
        tiktok.read_tables(tmp_path)


def test_the_splits_are_disjoint(tmp_path):
    split = tiktok.read_split(write_tiktok(tmp_path, tiktok_pairs_of_two_groups()))
    assert split.train.sequences.lengths.tolist() == [4] * 40
    assert split.test.sequences.video_E.tolist() == split.train.sequences.video_E.tolist()
    train = set(
        zip(np.repeat(np.arange(40), 4).tolist(), split.train.sequences.video_E.tolist(), strict=True)
    )
    first_two = split.train.sequences.video_E.unflatten(0, (40, 4))[:, :2]
    assert (first_two.diff() < 0).any()  # in the order of ids, the next id would always be higher
    folds = (split.train.targets, split.test.targets)
    targets = [set(zip(t.user_P.tolist(), t.row_P.tolist(), strict=True)) for t in folds]
    assert len(targets[0]) == len(targets[1]) == 40
    assert not train & targets[0]
    assert not train & targets[1]
    assert not targets[0] & targets[1]


def test_a_release_that_cannot_be_split_is_refused(tmp_path):
    with pytest.raises(InputError, match="lacks interactions"):
        tiktok.read_split(tmp_path)
    with pytest.raises(InputError, match="no row has split 'test'"):
        tiktok.read_split(write_tiktok(tmp_path, [(0, 1, "train"), (0, 2, "validation")]))
    with pytest.raises(InputError, match="1 unknown_video_id"):
        tiktok.read_split(write_tiktok(tmp_path, [(0, 15, "train"), (0, 2, "validation"), (0, 3, "test")]))


@pytest.mark.shared_data
def test_the_real_release_is_complete(shared_data):
    days_by_type = tiktok.read_landing_form(shared_data / "tiktok").days_by_type
    assert [len(rows) for rows in days_by_type["events"].values()] == [59_541, 3_051, 6_130]
    assert [len(feature["vector"]) for feature in days_by_type["features"][date(2024, 1, 1)]] == [
        128
    ] * 2 * 6710
