"""From pictures, sounds and texts of videos to rows of `features`, a batch at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from contracts.errors import InputError
from contracts.tables import FEATURES, WHOLE_VIDEO

Encode = Callable[[Sequence[Any]], np.ndarray]  # things -> unit vectors [B, D]
Vectors = dict[str, dict[int, np.ndarray]]  # video -> segment -> unit vector [D]


class Batches:
    """Encodes the things of one video at a time, at most `size` of them at once.

    The last bits of a vector depend on what it is encoded together with. So that is of its own video alone:
    vectors are the same whatever was embedded before, also by a run that was killed and goes on.
    """

    def __init__(self, modality: str, encode: Encode, size: int) -> None:
        self._modality, self._encode_batch, self._size = modality, encode, size
        self._waiting: list[tuple[str, int, Any]] = []
        self._sums: Vectors = {}

    def add(self, video_id: str, segment: int, things: Sequence[Any]) -> None:
        """Take what a segment (WHOLE_VIDEO: the video) shows, plays or says; a video's segments in a row.

        Raises:
            InputError: the encoder gives vectors that are not finite.
        """
        for thing in things:
            if self._waiting and (self._waiting[0][0] != video_id or len(self._waiting) == self._size):
                self._encode()
            self._waiting.append((video_id, segment, thing))

    def finish(self) -> Vectors:
        """The vectors of everything added since the last time: of each segment the normalised mean.

        Raises:
            InputError: as for `add`.
        """
        if self._waiting:
            self._encode()
        sums, self._sums = self._sums, {}
        return {video: {n: unit(total) for n, total in parts.items()} for video, parts in sums.items()}

    def _encode(self) -> None:
        vectors_BD = self._encode_batch([thing for *_, thing in self._waiting])
        if not np.isfinite(vectors_BD).all():
            raise InputError(
                f"params.yaml: embed.{self._modality}: the encoder gives vectors that are not finite; "
                "its weights are damaged, name others"
            )
        for (video, segment, _), vector in zip(self._waiting, vectors_BD, strict=True):
            parts = self._sums.setdefault(video, {})
            parts[segment] = parts[segment] + vector if segment in parts else vector
        self._waiting = []


def unit(vector: np.ndarray) -> np.ndarray:
    """The vector at length 1; one that cancelled out to nothing stays nothing."""
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def rows(
    vectors: Mapping[str, Vectors],
    fingerprints: Mapping[str, str],
    sources: Mapping[tuple[str, str], str],
    segment_seconds: float,
    day: date,
) -> pa.Table:
    """Rows of `features` from modality -> vectors: each segment, and the whole as the segments' mean.

    Args:
        sources: (modality, video) -> a digest of what its vectors are made of.
    """
    found = list(_sorted(vectors))
    offsets = np.cumsum([0, *(len(vector) for *_, vector in found)])
    flat = np.concatenate([vector for *_, vector in found]).astype(np.float32)
    columns = {
        "video_id": [video for _, video, _, _ in found],
        "modality": [modality for modality, _, _, _ in found],
        "segment": [segment for _, _, segment, _ in found],
        "start_ms": [round(max(segment, 0) * segment_seconds * 1000) for _, _, segment, _ in found],
        "vector": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(flat)),
        "fingerprint": [fingerprints[modality] for modality, _, _, _ in found],
        "source": [sources[modality, video] for modality, video, _, _ in found],
        "day": [day] * len(found),
    }
    return pa.table(columns, FEATURES.schema)


def _sorted(vectors: Mapping[str, Vectors]) -> Iterator[tuple[str, str, int, np.ndarray]]:
    """(modality, video, segment, vector), sorted, the whole first; a text is a whole without segments."""
    for modality in sorted(vectors):
        for video, parts in sorted(vectors[modality].items()):
            if WHOLE_VIDEO not in parts:
                yield modality, video, WHOLE_VIDEO, unit(np.sum([*parts.values()], axis=0))
            for segment in sorted(parts):
                yield modality, video, segment, parts[segment]
