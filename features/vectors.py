"""The vectors in the lake that a night uses.

A vector of our own encoder depends only on the video. So it counts, whichever night computed it. A landed
vector counts from the day it was received. The newest delivery for a video and modality is used.
"""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.records import LANDED_FINGERPRINT
from core.tables import MODALITIES, WHOLE_VIDEO
from lake.client import Lake

VECTOR_KEY = ("modality", "video_id")
DELIVERY_ORDER = ("day", "source")  # oldest delivery first; `source` holds file and line


def fingerprint_filter(fingerprints: Sequence[str]) -> str:
    """Build the filter for vectors with one of these fingerprints."""
    quoted = ", ".join(f"'{fingerprint}'" for fingerprint in fingerprints)
    return f"fingerprint in ({quoted})"


def landed_vectors(
    lake: Lake, until: date, columns: Sequence[str] = (), modalities: Sequence[str] = MODALITIES
) -> pa.Table:
    """Read the landed vectors that are current at the end of the day `until`.

    Args:
        lake: The lake.
        until: The last day whose deliveries count.
        columns: Columns to read in addition to VECTOR_KEY and DELIVERY_ORDER.
        modalities: The modalities to read.

    Returns:
        One row per modality and video, sorted by VECTOR_KEY.
    """
    quoted = ", ".join(f"'{name}'" for name in modalities)
    where = f"fingerprint = '{LANDED_FINGERPRINT}' and day <= '{until}' and modality in ({quoted})"
    deliveries = lake.scan("features", where, tuple(dict.fromkeys((*VECTOR_KEY, *DELIVERY_ORDER, *columns))))
    keys = [(name, "ascending") for name in (*VECTOR_KEY, *DELIVERY_ORDER)]
    order = pc.sort_indices(deliveries, sort_keys=keys, null_placement="at_start")
    modality, video = (deliveries[name].take(order).to_numpy(zero_copy_only=False) for name in VECTOR_KEY)
    is_latest = np.ones(len(order), bool)
    is_latest[:-1] = (modality[1:] != modality[:-1]) | (video[1:] != video[:-1])
    return deliveries.take(order.filter(pa.array(is_latest)))


def whole_video_vectors(lake: Lake, until: date, modality: str, fingerprint: str) -> pa.Table:
    """Read `video_id` and `vector` of each video that has a vector of the whole video."""
    columns = ("video_id", "vector")
    if fingerprint == LANDED_FINGERPRINT:
        return landed_vectors(lake, until, columns, [modality]).select(columns)
    where = f"fingerprint = '{fingerprint}' and modality = '{modality}' and segment = {WHOLE_VIDEO}"
    return lake.scan("features", where, columns)
