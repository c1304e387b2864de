"""The served model as MLflow loads it, and the rows that a caller sends to it."""

from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pandas as pd
import pyarrow.parquet as pq

from core.paths import Night
from models.bundle import save_bundle
from models.interest_model import InterestModel
from registry.served_model import Recommender
from snapshots.reader import SnapshotReader
from tasks import promote


def load_recommender(night: Night, model: InterestModel | None = None) -> Recommender:
    """The recommender as MLflow loads it, of this model or of the one that is saved."""
    if model is not None:
        save_bundle(night.folder("train"), model)
    recommender = Recommender()
    with TemporaryDirectory() as folder:
        files = {name: str(path) for name, path in promote.write_artifacts(night, Path(folder)).items()}
        recommender.load_context(SimpleNamespace(artifacts=files))
    return recommender


def request_rows(snapshot: SnapshotReader) -> pd.DataFrame:
    """The sequences and profiles of all users, as a caller would send them."""
    ids = snapshot.videos["video_id"].to_pylist()
    sequences = {row["user_id"]: row for row in _read(snapshot, "sequences_test")}
    empty = {name: [] for name in snapshot._table("sequences_test").schema.names}
    users = _read(snapshot, "users_test")
    rows = []
    for user in users:
        sequence = sequences.get(user["user_id"], empty)
        rows.append(
            {
                **{name: user[name] for name in ("age_band", "city_tier", "days_registered")},
                "video_ids": [ids[row] for row in sequence["video_rows"]],
                "started_at_ms": [int(at.timestamp() * 1000) for at in sequence["started_at"]],
                "watch_ratios": _numbers(sequence["watch_ratios"]),
                "behaviours": sequence["behaviours"],
                "comment_sentiments": _numbers(sequence["comment_sentiments"]),
                "utc_offset_minutes": 60,
                "devices": sequence["devices"],
                "networks": sequence["networks"],
            }
        )
    return pd.DataFrame(rows)


def _numbers(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _read(snapshot: SnapshotReader, name: str) -> list[dict]:
    return pq.read_table(snapshot.night.workspace / "snapshot" / f"{name}.parquet").to_pylist()
