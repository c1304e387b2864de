"""The whole-video vectors of the catalogue, as arrays in the order of its rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
import pyarrow as pa

from core.errors import InputError
from features.vectors import whole_video_vectors
from lake.client import Lake


@dataclass(frozen=True)
class CatalogueVectors:
    """Vectors of one encoder.

    Attributes:
        x_VF: Vector of each video. Zeros for videos without one.
        mask_V: Videos that have one.
    """

    x_VF: np.ndarray
    mask_V: np.ndarray

    def tensors(self, name: str) -> dict[str, np.ndarray]:
        """Return the vectors and their mask as they are named in the files of the snapshot."""
        return {name: self.x_VF, f"{name}.mask": self.mask_V}


def read_catalogue_vectors(
    lake: Lake, until: date, video_ids: pa.ChunkedArray, encoders: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], CatalogueVectors]:
    """Read the vectors of some encoders.

    Args:
        lake: Without blocked nights.
        until: Last day of the vectors.
        video_ids: Of the catalogue.
        encoders: Modality and fingerprint of each.

    Returns:
        Encoder -> vectors. Without encoders that have none.

    Raises:
        InputError: Vectors of one encoder have different widths.
    """
    vectors = {}
    for modality, fingerprint in sorted(encoders):
        batches = whole_video_vectors(lake, until, modality, fingerprint)
        of_encoder = _place_vectors(modality, batches, video_ids)
        if of_encoder.mask_V.any():
            vectors[modality, fingerprint] = of_encoder
    return vectors


def _place_vectors(
    modality: str, batches: Iterable[pl.DataFrame], video_ids: pa.ChunkedArray
) -> CatalogueVectors:
    """Place vectors in the rows of the catalogue. Without vectors, F is 0.

    Args:
        modality: The modality.
        batches: `video_id` and `vector` of videos, also of those that are not in the catalogue.
        video_ids: Of the catalogue.

    Raises:
        InputError: The vectors have different widths.
    """
    row_of_video = pl.DataFrame({"video_id": video_ids}).with_row_index("row")
    x_VF, mask_V = np.zeros((len(video_ids), 0), np.float32), np.zeros(len(video_ids), bool)
    widths: set[int] = set()
    for batch in batches:
        known = batch.join(row_of_video, on="video_id")
        widths |= set(known["vector"].list.len())
        if len(widths) != 1:
            continue
        if not mask_V.any():
            x_VF = np.zeros((len(video_ids), *widths), np.float32)
        rows = known["row"].to_numpy()
        x_VF[rows] = known["vector"].explode().to_numpy().reshape(len(rows), x_VF.shape[1])
        mask_V[rows] = True
    if len(widths) > 1:
        listed = " and ".join(map(str, sorted(widths)))
        raise InputError(
            f"features: the lake holds {modality} vectors of {listed} numbers;"
            " deliver all of them again with one width (docs/data-contract.md)"
        )
    return CatalogueVectors(x_VF, mask_V)
