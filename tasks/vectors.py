"""The vectors in the lake that count on a night.

What an encoder of ours gives depends on the video alone, so it counts whichever night embedded it. What was
landed is known from the day it was received, and the newest delivery of a video and modality is current.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.lake import Lake
from contracts.records import LANDED
from contracts.tables import WHOLE_VIDEO

MODALITIES = ("visual", "text", "audio")
KEY = ("modality", "video_id")
ORDER = ("day", "source")  # of a key's deliveries; `source` tells file and line


def made_by(fingerprints: Sequence[str]) -> str:
    """The filter that takes what these encoders made."""
    names = ", ".join(f"'{fingerprint}'" for fingerprint in fingerprints)
    return f"fingerprint in ({names})"


def landed(
    lake: Lake, until: date, columns: Sequence[str] = (), modalities: Sequence[str] = MODALITIES
) -> pa.Table:
    """KEY, ORDER and `columns` of the ready-made vectors that are current at the end of a day, by KEY."""
    names = ", ".join(f"'{name}'" for name in modalities)
    where = f"fingerprint = '{LANDED}' and day <= '{until}' and modality in ({names})"
    found = lake.scan("features", where, tuple(dict.fromkeys((*KEY, *ORDER, *columns))))
    keys = [(name, "ascending") for name in (*KEY, *ORDER)]
    order = pc.sort_indices(found, sort_keys=keys, null_placement="at_start")
    modality, video = (found[name].take(order).to_numpy(zero_copy_only=False) for name in KEY)
    last = np.ones(len(order), bool)
    last[:-1] = (modality[1:] != modality[:-1]) | (video[1:] != video[:-1])
    return found.take(order.filter(pa.array(last)))


def of_whole_videos(lake: Lake, until: date, modality: str, fingerprint: str) -> pa.Table:
    """video_id and vector: one row a video that has one."""
    columns = ("video_id", "vector")
    if fingerprint == LANDED:
        return landed(lake, until, columns, [modality]).select(columns)
    where = f"fingerprint = '{fingerprint}' and modality = '{modality}' and segment = {WHOLE_VIDEO}"
    return lake.scan("features", where, columns)
