from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.errors import InputError
from tasks.importers import tiktok


def _write(folder: Path, splits: tuple[str, ...] = ("train", "train", "validation", "test")) -> Path:
    log = {"user_id": [0] * len(splits), "video_id": list(range(len(splits))), "split": list(splits)}
    pq.write_table(pa.table(log), folder / "interactions.parquet")
    np.save(folder / "image.npy", np.eye(4, 2, dtype=np.float16))
    np.save(folder / "audio.npy", np.ones((5, 3), np.float16))
    return folder


def test_splits_become_days_and_rows_of_the_arrays_become_vectors(tmp_path):
    kinds = tiktok.read(_write(tmp_path)).kinds
    days = {day: [(e["video_id"], e["event_time"]) for e in rows] for day, rows in kinds["events"].items()}
    assert days == {
        date(2024, 1, 1): [("0", "2024-01-01T00:00:00Z"), ("1", "2024-01-01T00:01:00Z")],
        date(2024, 1, 2): [("2", "2024-01-02T00:00:00Z")],
        date(2024, 1, 3): [("3", "2024-01-03T00:00:00Z")],
    }
    features = kinds["features"][date(2024, 1, 1)]
    assert features[1] == {"video_id": "1", "modality": "visual", "vector": [0.0, 1.0]}
    assert features[-1] == {"video_id": "4", "modality": "audio", "vector": [1.0, 1.0, 1.0]}
    assert [video["video_id"] for video in kinds["videos"][date(2024, 1, 1)]] == ["0", "1", "2", "3", "4"]


def test_an_unknown_split_and_a_broken_array_are_refused(tmp_path):
    with pytest.raises(InputError, match="split is 'holdout'"):
        tiktok.read(_write(tmp_path, ("train", "holdout")))
    _write(tmp_path)
    (tmp_path / "audio.npy").write_text("no array")
    with pytest.raises(InputError, match=r"audio\.npy is not a NumPy array"):
        tiktok.read(tmp_path)


@pytest.mark.shared_data
def test_the_real_release_comes_whole(shared_data):
    kinds = tiktok.read(shared_data / "tiktok").kinds
    assert [len(rows) for rows in kinds["events"].values()] == [59_541, 3_051, 6_130]
    assert [len(feature["vector"]) for feature in kinds["features"][date(2024, 1, 1)]] == [128] * 2 * 6710
