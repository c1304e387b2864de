"""Find the embedding backlog: the videos that have no current vector yet for some modality."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
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
        text: Its normalised caption and hashtags. It is empty unless the text vector is missing.
        received_day: The day on which its newest record was received.
        missing: The modalities that need a new vector.
        stale: Those modalities of `missing` that have a vector of another file or text. It is replaced.
        source_digests: Modality -> digest of the media address or of the text to embed.
        reads_media_text: Whether its missing text vector also needs what is said or shown in its file.
        text_digest: Digest of its caption and hashtags alone.
        embedded_text: Digest of what its present text vector was made of.
    """

    video_id: str
    media_uri: str
    text: str
    received_day: date
    missing: frozenset[str]
    stale: frozenset[str]
    source_digests: Mapping[str, str]
    reads_media_text: bool = False
    text_digest: str = ""
    embedded_text: str | None = None

    @property
    def needs_media(self) -> bool:
        """Whether its media file has to be decoded."""
        return self.reads_media_text or not self.missing.isdisjoint(MISSING_STREAM_REASONS)

    def without_media_text(self) -> "BacklogVideo":
        """Return the video whose text is its caption and hashtags, because its file cannot be read."""
        if not self.reads_media_text:
            return self
        is_missing = self.text and self.embedded_text != self.text_digest
        missing = self.missing if is_missing else self.missing - {"text"}
        return replace(
            self, missing=missing, source_digests={**self.source_digests, "text": self.text_digest}
        )


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
    lake: Lake,
    videos: Mapping[str, dict[str, Any]],
    embedded: Mapping[str, SourceDigestByVideo],
    media_text_step: str | None = None,
) -> list[BacklogVideo]:
    """Find the videos whose current file or text has no vector yet.

    Args:
        lake: The lake, for the files that were rejected before.
        videos: video_id -> newest record, see `known_videos`.
        embedded: Modality -> videos that have a vector, see `embedded_sources`.
        media_text_step: The `rejects.step` of a video without any text, if text is read from media. None: the
            text is caption and hashtags only.
    """
    rejected = _permanent_rejects(lake, media_text_step)
    videos_to_embed = (
        _backlog_video(video_id, record, embedded, rejected, media_text_step)
        for video_id, record in videos.items()
    )
    return [video for video in videos_to_embed if video.missing]


def _backlog_video(
    video_id: str,
    record: Mapping[str, Any],
    embedded: Mapping[str, SourceDigestByVideo],
    rejected: Collection[tuple[str, str]],
    media_text_step: str | None,
) -> BacklogVideo:
    """Return a video with the modalities that it lacks. It may lack none."""
    uri, text_source = record["media_uri"] or "", raw_text(record)
    playable = bool(uri) and (UNREADABLE_FILE_REJECT_STEP, uri) not in rejected
    reads_media_text = media_text_step is not None and playable
    may_have_text = reads_media_text and (media_text_step, uri) not in rejected
    media_digest, text_digest = _digest(uri), _digest(text_source)
    digests = dict.fromkeys(embedded, media_digest) | {
        "text": _digest(text_source, uri) if reads_media_text else text_digest
    }
    media = {m for m in MISSING_STREAM_REASONS if playable and (reject_step(m), uri) not in rejected}
    embeddable = (media | {"text"}) & embedded.keys()
    missing = frozenset(m for m in embeddable if embedded[m].get(video_id) != digests[m])
    text = normalise_text(text_source) if "text" in missing else ""
    if not text and not may_have_text:  # for example a text that is only a web address
        missing -= {"text"}
    return BacklogVideo(
        video_id,
        uri,
        text,
        record["day"],
        missing,
        frozenset(m for m in missing if video_id in embedded[m]),
        digests,
        reads_media_text and "text" in missing,
        text_digest,
        embedded.get("text", {}).get(video_id),
    )


def _digest(*lines: str) -> str:
    return hashing.hash_lines(lines)[:16]


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


def media_text_reject_step(fingerprint: str) -> str:
    """Return the `rejects.step` of a video without any text. Other readers try it again."""
    return f"{reject_step('text')}.{fingerprint}"


def _permanent_rejects(lake: Lake, media_text_step: str | None) -> set[tuple[str, str]]:
    """Return (step, source file) of every file that is not tried again."""
    names = (UNREADABLE_FILE_REJECT_STEP, *map(reject_step, MISSING_STREAM_REASONS))
    steps = ", ".join(f"'{name}'" for name in (*names, *filter(None, [media_text_step])))
    rows = lake.scan("rejects", f"step in ({steps})", ("step", "reason", "source_file")).to_pylist()
    return {(row["step"], row["source_file"]) for row in rows if row["reason"] not in RETRYABLE_REASONS}
