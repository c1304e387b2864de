"""Find the embedding backlog: the videos that have no current vector yet for some modality."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from core import hashing
from core.records import LANDED_FINGERPRINT, text_or_none
from core.tables import WHOLE_VIDEO
from features import vectors
from features.text_normalisation import normalise_text, raw_text
from lake.client import Lake, up_to_day
from lake.latest_records import latest_records

# Modality -> the reject reason of a readable file without a stream for it.
MISSING_STREAM_REASONS = {"visual": "no_video_stream", "audio": "no_audio_stream"}
SourceDigestByVideo = dict[
    str, str | None
]  # video_id -> digest of the media address or text that was embedded

UNREADABLE_FILE_REJECT_STEP = "embed"  # the `rejects.step` of a file that cannot be read
# Every run tries these files again. They may have arrived, their folder may be allowed now, or the machine
# may be less busy.
RETRYABLE_REASONS = ("missing_media", "outside_media_roots", "decode_timeout")


@dataclass(frozen=True)
class BacklogVideo:
    """A video of the embedding backlog.

    Attributes:
        video_id: The video.
        media_uri: Address of its file. It is empty if the video has none.
        text: Its normalised text. It is empty unless the text vector is missing.
        received_day: The day on which its newest record was received.
        missing: The modalities that need a new vector.
        stale: Those modalities of `missing` that have a vector of another file or text. It is replaced.
        source_digests: Modality -> digest of the media address or of the text to embed.
    """

    video_id: str
    media_uri: str
    text: str
    received_day: date
    missing: frozenset[str]
    stale: frozenset[str]
    source_digests: Mapping[str, str]

    @property
    def needs_media(self) -> bool:
        """Whether its media file has to be decoded."""
        return not self.missing.isdisjoint(MISSING_STREAM_REASONS)


def known_videos(lake: Lake, until: date) -> dict[str, dict[str, Any]]:
    """Read the newest record of each video that was received up to the day `until`.

    Returns:
        video_id -> record, sorted by id. A blank `media_uri` becomes None.
    """
    content = ("video_id", "media_uri", "caption", "hashtags")
    order = ("day", "source_file", "source_line")
    records = lake.scan("videos", up_to_day(until), (*content, *order))
    return {
        record["video_id"]: record | {"media_uri": text_or_none(record["media_uri"])}
        for record in latest_records(records, "video_id").to_pylist()
    }


def find_backlog(
    lake: Lake, videos: Mapping[str, dict[str, Any]], embedded: Mapping[str, SourceDigestByVideo]
) -> list[BacklogVideo]:
    """Find the videos whose current file or text has no vector yet.

    Args:
        lake: The lake, for the files that were rejected before.
        videos: video_id -> newest record, see `known_videos`.
        embedded: Modality -> videos that have a vector, see `embedded_sources`.
    """
    rejected = _permanent_rejects(lake)
    backlog = []
    for video_id, record in videos.items():
        uri, text_source = record["media_uri"] or "", raw_text(record)
        source_digests = {m: hashing.hash_lines([text_source if m == "text" else uri])[:16] for m in embedded}
        embeddable = _embeddable_modalities(uri, text_source, rejected) & embedded.keys()
        missing = frozenset(m for m in embeddable if embedded[m].get(video_id) != source_digests[m])
        text = normalise_text(text_source) if "text" in missing else ""
        if not text:  # for example a text that is only a web address
            missing -= {"text"}
        if missing:
            stale = frozenset(m for m in missing if video_id in embedded[m])
            backlog.append(BacklogVideo(video_id, uri, text, record["day"], missing, stale, source_digests))
    return backlog


def embedded_sources(
    lake: Lake, until: date, fingerprints: Mapping[str, str]
) -> dict[str, SourceDigestByVideo]:
    """Find the videos that have a vector with the present fingerprint of each modality.

    Args:
        lake: The lake.
        until: Landed vectors count if they were received up to this day.
        fingerprints: Modality -> fingerprint.

    Returns:
        Modality -> video_id -> digest of the media address or text that was embedded.
    """
    videos: dict[str, SourceDigestByVideo] = {modality: {} for modality in fingerprints}
    encoder_fingerprints = sorted(set(fingerprints.values()) - {LANDED_FINGERPRINT})
    rows = (
        vectors.landed_vectors(lake, until).to_pylist() if LANDED_FINGERPRINT in fingerprints.values() else []
    )
    rows = [row | {"fingerprint": LANDED_FINGERPRINT} for row in rows]
    if encoder_fingerprints:  # a single scan, because every scan opens all files
        where = f"{vectors.fingerprint_filter(encoder_fingerprints)} and segment = {WHOLE_VIDEO}"
        columns = ("modality", "fingerprint", "video_id", "source")
        rows += lake.scan("features", where, columns).to_pylist()
    for row in rows:
        if fingerprints.get(row["modality"]) == row["fingerprint"]:
            videos[row["modality"]][row["video_id"]] = row["source"]
    return videos


def reject_step(modality: str) -> str:
    """Return the `rejects.step` of a readable file without a stream for the modality."""
    return f"embed.{modality}"


def _embeddable_modalities(uri: str, text: str, rejected: Collection[tuple[str, str]]) -> set[str]:
    playable = uri and (UNREADABLE_FILE_REJECT_STEP, uri) not in rejected
    media = {m for m in MISSING_STREAM_REASONS if playable and (reject_step(m), uri) not in rejected}
    return media | ({"text"} if text else set())


def _permanent_rejects(lake: Lake) -> set[tuple[str, str]]:
    """Return (step, source file) of every file that is not tried again."""
    steps = ", ".join(
        f"'{name}'" for name in (UNREADABLE_FILE_REJECT_STEP, *map(reject_step, MISSING_STREAM_REASONS))
    )
    rows = lake.scan("rejects", f"step in ({steps})", ("step", "reason", "source_file")).to_pylist()
    return {(row["step"], row["source_file"]) for row in rows if row["reason"] not in RETRYABLE_REASONS}
