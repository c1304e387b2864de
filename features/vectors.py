"""The vectors in the lake that a night uses.

A vector of our own encoder depends only on the video. So it counts, whichever night computed it. A landed
vector counts from the day it was received. The newest delivery for a video and modality is used.
"""

from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from core.records import LANDED_FINGERPRINT
from core.tables import MODALITIES, WHOLE_VIDEO
from lake.client import Lake

VECTOR_KEY = ("modality", "video_id")
DELIVERY_ORDER = ("day", "source")  # oldest delivery first; `source` holds file and line
BATCH_VECTORS = 1 << 14  # vectors that are read at a time, some 50 MiB


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


def whole_video_vectors(lake: Lake, until: date, modality: str, fingerprint: str) -> Iterator[pl.DataFrame]:
    """Read the vector of each video that has a vector of the whole video.

    Yields:
        Batches of `video_id` and `vector`, in no particular order. Each video is in one of them.
    """
    if fingerprint == LANDED_FINGERPRINT:
        rows = _newest_landed_vectors(lake, until, modality)
    else:
        rows = lake.lazy_scan("features", f"fingerprint = '{fingerprint}'").filter(
            pl.col("modality") == modality, pl.col("segment") == WHOLE_VIDEO
        )
    selected = rows.select("video_id", "vector")
    yield from selected.collect_batches(chunk_size=BATCH_VECTORS, engine="streaming", maintain_order=False)


def segment_vectors(lake: Lake, modality: str, fingerprint: str) -> Iterator[pl.DataFrame]:
    """Read the vectors of video segments. Landed vectors have none.

    Yields:
        Batches of `video_id`, `segment` and `vector`, in no particular order.
    """
    rows = lake.lazy_scan("features", f"fingerprint = '{fingerprint}'").filter(
        pl.col("modality") == modality, pl.col("segment") != WHOLE_VIDEO
    )
    selected = rows.select("video_id", "segment", "vector")
    yield from selected.collect_batches(chunk_size=BATCH_VECTORS, engine="streaming", maintain_order=False)


def _newest_landed_vectors(lake: Lake, until: date, modality: str) -> pl.LazyFrame:
    """Return the rows of `landed_vectors`, whose vectors are read only when the query runs."""
    newest = pl.from_arrow(landed_vectors(lake, until, (), [modality]))
    assert isinstance(newest, pl.DataFrame)
    deliveries = lake.lazy_scan("features", f"fingerprint = '{LANDED_FINGERPRINT}' and day <= '{until}'")
    return deliveries.join(newest.lazy(), on=[*VECTOR_KEY, *DELIVERY_ORDER], how="semi", nulls_equal=True)
