"""A world's night in a lake of its own: every step up to align, and what the benchmarks read of it.

Legend: E viewings, V videos, N segments, F features.
"""

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

from benchmarks.nights import command
from contracts.errors import InputError
from contracts.lake import Lake, up_to
from contracts.place import PROJECT, Night, parse_day
from contracts.tables import BEHAVIOURS
from models.histories import Histories
from models.segments import SegmentCatalogue
from tasks.pinned import Pinned

STEPS = ("ingest", "clean", "embed", "sequences", "snapshot", "align")
SEGMENTED = ("visual", "audio")
HISTORY = 400  # viewings of a person that are kept: the whole of a world's few weeks


def last_night(path: Path) -> str:
    """The last day of a world (YYYY-MM-DD).

    Raises:
        InputError: the folder is none that `python -m world make` has written.
    """
    told = path / "truth" / "world.json"
    if not told.is_file() or not (path / "landing").is_dir():
        raise InputError(
            f"{path} holds no landing/ and truth/world.json; make a world: python -m world make --out DIR"
        )
    made = json.loads(told.read_text(encoding="utf-8"))["params"]
    first = parse_day(made["first_day"], f"{told}: params.first_day")
    return str(first + timedelta(made["history_days"] + made["nights"] - 1))


def run_night(path: Path, home: Path) -> Pinned:
    """The last night of the world up to align, in `home`; UNDERCURRENT_HOME of this process is set to it.

    Histories are kept whole (`sequences.max_length`), everything else is as in params.yaml.
    """
    day = last_night(path)
    knobs = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    knobs["sequences"]["max_length"] = HISTORY
    params = home / "params.yaml"
    params.write_text(yaml.safe_dump(knobs), encoding="utf-8")
    os.environ |= {"UNDERCURRENT_HOME": str(home), "UNDERCURRENT_LANDING": str((path / "landing").resolve())}
    workspace = home / "nights" / day
    for step in STEPS:
        told = ("--night", day, "--workspace", str(workspace), "--params", str(params))
        if command(home, f"tasks.{step}", *told):
            raise InputError(f"{path}: step {step} refused the night {day}; what it said is above")
    return Pinned(Night(parse_day(day), workspace, params))


def viewings(pinned: Pinned) -> pa.Table:
    """Every viewing up to the night, by person and time, with `user_row` and `video_row`."""
    order = [("user_id", "ascending"), ("started_at", "ascending"), ("video_id", "ascending")]
    table = Lake().scan("interactions", up_to(pinned.night.day)).sort_by(order)
    users, videos = pinned.users["user_id"], pinned.videos["video_id"]
    table = table.append_column("user_row", pc.index_in(table["user_id"], users.combine_chunks()))
    table = table.append_column("video_row", pc.index_in(table["video_id"], videos.combine_chunks()))
    return table.filter(
        pc.and_(table["viewed"], pc.and_(pc.is_valid(table["user_row"]), pc.is_valid(table["video_row"])))
    )


def histories(table: pa.Table, people: int) -> Histories:
    """Viewings as histories, nothing left out."""
    user_E = table["user_row"].to_numpy().astype(np.int64)
    order_E = np.argsort(user_E, kind="stable")
    count_B = np.bincount(user_E, minlength=people)

    def floats(name: str) -> Tensor:
        return torch.from_numpy(table[name].cast(pa.float32()).to_numpy()[order_E])

    second_E = table["started_at"].cast(pa.int64()).to_numpy()[order_E] // 1_000_000
    did = [table[name].to_numpy()[order_E].astype(bool) for name in BEHAVIOURS]
    return Histories(
        offsets=torch.from_numpy(np.concatenate([[0], count_B.cumsum()])),
        video_E=torch.from_numpy(table["video_row"].to_numpy().astype(np.int64)[order_E]),
        second_E=torch.from_numpy(second_E),
        hour_E=torch.from_numpy(second_E // 3600 % 24),
        ratio_E=floats("watch_ratio"),
        did_EA=torch.from_numpy(np.stack(did, 1)),
        sentiment_E=floats("comment_sentiment"),
        positive_E=torch.ones(len(order_E), dtype=torch.bool),
    )


def segments(pinned: Pinned, length_V: Tensor, most: int) -> SegmentCatalogue:
    """What each segment shows and sounds like, standardised over the videos with training views."""
    features, has = {}, {}
    for modality in (m for m in SEGMENTED if m in pinned.encoders):
        where = f"modality = '{modality}' and fingerprint = '{pinned.encoders[modality]}' and segment >= 0"
        found = Lake().scan("features", where, ("video_id", "segment", "vector"))
        rows = pc.index_in(found["video_id"], pinned.videos["video_id"].combine_chunks())
        keep = pc.and_(pc.is_valid(rows), pc.less(found["segment"], most))
        at_V, at_N = rows.filter(keep).to_numpy(), found["segment"].filter(keep).to_numpy()
        vector_NF = np.stack(found["vector"].filter(keep).to_numpy())
        x_VNF = torch.zeros(len(length_V), most, vector_NF.shape[1])
        has_VN = torch.zeros(len(length_V), most, dtype=torch.bool)
        x_VNF[at_V, at_N], has_VN[at_V, at_N] = torch.tensor(vector_NF), True
        known_NF = x_VNF[has_VN & (pinned.train_views > 0)[:, None]]
        x_VNF = (x_VNF - known_NF.mean(0)) / known_NF.std(0).clamp(min=1e-6)
        features[modality], has[modality] = x_VNF.masked_fill(~has_VN.unsqueeze(2), 0.0), has_VN
    return SegmentCatalogue(features, has, length_V)
