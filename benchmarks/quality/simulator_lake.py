"""Run a night of a simulated platform up to align in a separate lake, and read its tables for benchmarks."""

import json
import os
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
import yaml
from torch import Tensor

from benchmarks.quality.nights import run_command
from core.errors import InputError
from core.paths import PROJECT_ROOT, Night, parse_day
from core.tables import BEHAVIOURS
from lake.client import Lake, up_to_day
from models.data.sequences import Sequences
from models.segments.segment_interest import SegmentTable
from simulator.ground_truth import FOLDER_NAME
from snapshots.reader import SnapshotReader

STEPS = ("ingest", "clean", "embed", "sequences", "snapshot", "align")
SEGMENT_MODALITIES = ("visual", "audio")
MAX_LENGTH = 400  # interactions of a sequence: all of a few weeks


def last_night(path: Path) -> str:
    """Return the last day of a simulation as YYYY-MM-DD.

    Raises:
        InputError: `python -m simulator make` did not write the folder.
    """
    summary_path = path / FOLDER_NAME / "simulator.json"
    if not summary_path.is_file() or not (path / "landing").is_dir():
        raise InputError(
            f"{path} does not hold landing/ and {FOLDER_NAME}/simulator.json; "
            "give a folder that `python -m simulator make --out DIR` wrote"
        )
    simulator_params = json.loads(summary_path.read_text(encoding="utf-8"))["params"]
    first = parse_day(simulator_params["first_day"], f"{summary_path}: params.first_day")
    return str(first + timedelta(simulator_params["history_days"] + simulator_params["nights"] - 1))


def run_night(path: Path, home: Path) -> SnapshotReader:
    """Run the last night of a simulation up to align.

    Sequences are not shortened (`sequences.max_length`). All other parameters are those of params.yaml.

    Args:
        path: folder of the simulation.
        home: folder that becomes UNDERCURRENT_HOME.

    Raises:
        InputError: the folder holds no simulation, or a step refuses the night.
    """
    day = last_night(path)
    raw_params = yaml.safe_load((PROJECT_ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw_params["sequences"]["max_length"] = MAX_LENGTH
    params_path = home / "params.yaml"
    params_path.write_text(yaml.safe_dump(raw_params), encoding="utf-8")
    os.environ |= {"UNDERCURRENT_HOME": str(home), "UNDERCURRENT_LANDING": str((path / "landing").resolve())}
    workspace = home / "nights" / day
    for step in STEPS:
        arguments = ("--night", day, "--workspace", str(workspace), "--params", str(params_path))
        if run_command(home, f"tasks.{step}", *arguments):
            raise InputError(f"{path}: step {step} refused the night {day}; see its message above")
    return SnapshotReader(Night(parse_day(day), workspace, params_path))


def read_interactions(snapshot: SnapshotReader) -> pa.Table:
    """Return all viewed interactions up to the night, by user and time.

    The columns `user_row` and `video_row` are rows of the snapshot's users and videos.
    """
    order = [("user_id", "ascending"), ("started_at", "ascending"), ("video_id", "ascending")]
    table = Lake().scan("interactions", up_to_day(snapshot.night.day)).sort_by(order)
    users, videos = snapshot.users_before_test["user_id"], snapshot.videos["video_id"]
    table = table.append_column("user_row", pc.index_in(table["user_id"], users.combine_chunks()))
    table = table.append_column("video_row", pc.index_in(table["video_id"], videos.combine_chunks()))
    return table.filter(
        pc.and_(table["viewed"], pc.and_(pc.is_valid(table["user_row"]), pc.is_valid(table["video_row"])))
    )


def make_sequences(table: pa.Table, num_users: int) -> Sequences:
    """Make sequences of all interactions.

    Args:
        table: from `read_interactions`.
        num_users: number of users of the snapshot.
    """
    user_E = table["user_row"].to_numpy().astype(np.int64)
    order_E = np.argsort(user_E, kind="stable")
    count_B = np.bincount(user_E, minlength=num_users)

    def floats(name: str) -> Tensor:
        return torch.from_numpy(table[name].cast(pa.float32()).to_numpy()[order_E])

    second_E = table["started_at"].cast(pa.int64()).to_numpy()[order_E] // 1_000_000
    behaviours = [table[name].to_numpy()[order_E].astype(bool) for name in BEHAVIOURS]
    return Sequences(
        offsets=torch.from_numpy(np.concatenate([[0], count_B.cumsum()])),
        video_E=torch.from_numpy(table["video_row"].to_numpy().astype(np.int64)[order_E]),
        timestamp_E=torch.from_numpy(second_E),
        hour_E=torch.from_numpy(second_E // 3600 % 24),
        watch_ratio_E=floats("watch_ratio"),
        behaviour_EA=torch.from_numpy(np.stack(behaviours, 1)),
        sentiment_E=floats("comment_sentiment"),
        positive_E=torch.ones(len(order_E), dtype=torch.bool),
    )


def make_segment_catalogue(snapshot: SnapshotReader, length_V: Tensor, max_segments: int) -> SegmentTable:
    """Make the table of the segments' features.

    The features are standardised over the videos with training interactions.

    Args:
        length_V: number of segments of each video.
        max_segments: later segments are left out.
    """
    features, has = {}, {}
    for modality in (m for m in SEGMENT_MODALITIES if m in snapshot.encoder_fingerprints):
        fingerprint = snapshot.encoder_fingerprints[modality]
        row_filter = f"modality = '{modality}' and fingerprint = '{fingerprint}' and segment >= 0"
        features_table = Lake().scan("features", row_filter, ("video_id", "segment", "vector"))
        rows = pc.index_in(features_table["video_id"], snapshot.videos["video_id"].combine_chunks())
        keep = pc.and_(pc.is_valid(rows), pc.less(features_table["segment"], max_segments))
        video_row_N = rows.filter(keep).to_numpy()
        segment_N = features_table["segment"].filter(keep).to_numpy()
        vector_NF = np.stack(features_table["vector"].filter(keep).to_numpy())
        x_VTF = torch.zeros(len(length_V), max_segments, vector_NF.shape[1])
        has_VT = torch.zeros(len(length_V), max_segments, dtype=torch.bool)
        x_VTF[video_row_N, segment_N], has_VT[video_row_N, segment_N] = torch.tensor(vector_NF), True
        train_NF = x_VTF[has_VT & (snapshot.num_train_interactions > 0)[:, None]]
        x_VTF = (x_VTF - train_NF.mean(0)) / train_NF.std(0).clamp(min=1e-6)
        features[modality], has[modality] = x_VTF.masked_fill(~has_VT.unsqueeze(2), 0.0), has_VT
    return SegmentTable(features, has, length_V)
