"""Encode the frames, audio and text of videos in batches, and build rows of the table `features`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from core.errors import InputError
from core.tables import FEATURES, WHOLE_VIDEO

Encode = Callable[[Sequence[Any]], np.ndarray]  # samples -> unit vectors [B, D]
SegmentVectors = dict[str, dict[int, np.ndarray]]  # video -> segment -> unit vector [D]


class BatchEncoder:
    """Encodes samples in batches of at most `size`. All samples of a batch belong to one video.

    The last bits of a vector depend on the other samples of its batch. With batches of one video, vectors do
    not depend on what was embedded before. A run that continues after a kill gives the same vectors.

    Attributes:
        pending_bytes: Size of the vectors that `finish` would return now.
    """

    def __init__(self, modality: str, encode: Encode, size: int) -> None:
        self._modality, self._encode_batch, self._size = modality, encode, size
        self._pending: list[tuple[str, int, Any]] = []
        self._sums: SegmentVectors = {}
        self.pending_bytes = 0

    def add(self, video_id: str, segment: int, inputs: Sequence[Any]) -> None:
        """Add the samples of one segment. Segments of the same video must be added one after another.

        Args:
            video_id: The video.
            segment: The segment's number, or WHOLE_VIDEO for the whole video.
            inputs: Pictures, one piece of sound or one text, as the encoder takes them.

        Raises:
            InputError: The encoder returned vectors that are not finite.
        """
        for sample in inputs:
            if self._pending and (self._pending[0][0] != video_id or len(self._pending) == self._size):
                self.encode_pending()
            self._pending.append((video_id, segment, sample))

    def finish(self) -> SegmentVectors:
        """Return the normalised mean vector of each segment added since the last call.

        Raises:
            InputError: The encoder returned vectors that are not finite.
        """
        self.encode_pending()
        sums, self._sums, self.pending_bytes = self._sums, {}, 0
        return {
            video: {n: normalise(total) for n, total in segments.items()} for video, segments in sums.items()
        }

    def encode_pending(self) -> None:
        """Encode the samples that wait for a full batch. Call this after the last sample of a video.

        Raises:
            InputError: The encoder returned vectors that are not finite.
        """
        if not self._pending:
            return
        vectors_BD = self._encode_batch([sample for *_, sample in self._pending])
        if not np.isfinite(vectors_BD).all():
            raise InputError(
                f"params.yaml: embed.{self._modality}: the encoder returned vectors that are not finite; "
                "its weights are damaged: use other weights"
            )
        for (video, segment, _), vector in zip(self._pending, vectors_BD, strict=True):
            segments = self._sums.setdefault(video, {})
            if segment in segments:
                segments[segment] = segments[segment] + vector
            else:
                segments[segment] = vector
                self.pending_bytes += vector.nbytes
        self._pending = []


def normalise(vector: np.ndarray) -> np.ndarray:
    """Scale a vector to length 1. A zero vector stays zero."""
    return vector / max(float(np.linalg.norm(vector)), 1e-12)


def feature_rows(
    vectors: Mapping[str, SegmentVectors],
    fingerprints: Mapping[str, str],
    sources: Mapping[tuple[str, str], str],
    segment_seconds: float,
    day: date,
) -> pa.Table:
    """Build rows of `features`: one for each segment, and one for the whole video.

    The vector of the whole video is the normalised sum of its segments' vectors.

    Args:
        vectors: Modality -> video -> segment -> unit vector.
        fingerprints: Modality -> encoder fingerprint.
        sources: (modality, video) -> digest of the file or text that was embedded.
        segment_seconds: Length of a segment.
        day: The night's day.
    """
    entries = list(_sorted_entries(vectors))
    offsets = np.cumsum([0, *(len(vector) for *_, vector in entries)])
    flat = np.concatenate([vector for *_, vector in entries]).astype(np.float32)
    columns = {
        "video_id": [video for _, video, _, _ in entries],
        "modality": [modality for modality, _, _, _ in entries],
        "segment": [segment for _, _, segment, _ in entries],
        "start_ms": [round(max(segment, 0) * segment_seconds * 1000) for _, _, segment, _ in entries],
        "vector": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(flat)),
        "fingerprint": [fingerprints[modality] for modality, _, _, _ in entries],
        "source": [sources[modality, video] for modality, video, _, _ in entries],
        "day": [day] * len(entries),
    }
    return pa.table(columns, FEATURES.schema)


def _sorted_entries(vectors: Mapping[str, SegmentVectors]) -> Iterator[tuple[str, str, int, np.ndarray]]:
    """Yield (modality, video, segment, vector), sorted, the whole video first. A text has no segments."""
    for modality in sorted(vectors):
        for video, segments in sorted(vectors[modality].items()):
            if WHOLE_VIDEO not in segments:
                yield modality, video, WHOLE_VIDEO, normalise(np.sum([*segments.values()], axis=0))
            for segment in sorted(segments):
                yield modality, video, segment, segments[segment]
