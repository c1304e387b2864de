"""Embed the pictures, sound and text of videos that have no current vectors.

A video is embedded again if its newest record has another `media_uri` or text. Its old vectors are replaced.
The same `media_uri` counts as the same file.

UNDERCURRENT_EMBED_SHARD, such as 2/8, limits a run to one shard of the backlog (1 to 8). Shards wait for one
another, because one process at a time embeds.

A video with unreadable media is a reject with its reason. Its text is still embedded. Every run tries media
again that were missing or took too long. A killed run keeps its commits.
"""

import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from tqdm import tqdm

from core import hashing, paths, step_cli
from core.config import EmbedConfig
from core.errors import InputError, ServiceUnavailableError
from core.paths import Night
from core.records import LANDED_FINGERPRINT
from core.run_manifests import RowCounts, RunManifest
from core.tables import MODALITIES, WHOLE_VIDEO
from features.embedding import BatchEncoder, SegmentVectors, feature_rows
from features.embedding_backlog import (
    MISSING_STREAM_REASONS,
    UNREADABLE_FILE_REJECT_STEP,
    BacklogVideo,
    embedded_sources,
    find_backlog,
    known_videos,
    reject_step,
)
from features.media_rejects import MediaRejects, RejectRow, reject_row
from features.text_normalisation import TEXT_FINGERPRINT
from lake.audits import visible_lake
from lake.client import Lake
from media.clip import DecodedVideo, DecodeLimits, MediaStoreUnavailable, SamplingConfig, UnreadableMedia
from media.decoders import DecoderPool
from models import encoders
from models.encoders import AudioEncoder, Encoder, EncoderReplicas, ImageEncoder

NONE = "none"
SHARD_PATTERN = re.compile(r"(\d{1,5})/(\d{1,5})", re.ASCII)
REJECT_BYTES = 256  # a reject has no vector, but counts towards the size of a commit


@dataclass
class EmbedCounts:
    """Counts of a run.

    Attributes:
        rejected: Reject reason -> videos whose media could not be read.
        missing_modality: Modality -> videos whose media have no stream for it.
        embedded: Modality -> embedded videos.
        partially_decoded: Videos with decoding errors that still gave some samples.
    """

    rejected: Counter[str] = field(default_factory=Counter)
    missing_modality: Counter[str] = field(default_factory=Counter)
    embedded: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    partially_decoded: int = 0


def run(params: EmbedConfig, night: Night) -> RunManifest:
    """Embed the backlog of the night, or a shard of it, with a commit after every `commit_mib` of vectors.

    Raises:
        InputError: An encoder cannot be built, or the media store refuses access.
        ServiceUnavailableError: The media store does not answer.
    """
    lake = visible_lake(night.day)
    modality_encoders = _build_encoders(params)
    own_fingerprints = _fingerprints(params, modality_encoders)
    landed_fingerprints = {
        modality: LANDED_FINGERPRINT
        for modality in MODALITIES
        if getattr(params, modality) == LANDED_FINGERPRINT
    }
    fingerprints = own_fingerprints | landed_fingerprints
    with lake.lock("embed"):
        reads = {"videos": lake.version("videos")}
        catalogue_videos = known_videos(lake, night.day)
        existing = embedded_sources(lake, night.day, fingerprints)
        backlog = _shard(
            find_backlog(
                lake, catalogue_videos, {modality: existing[modality] for modality in own_fingerprints}
            )
        )
        counts = (
            _embed_videos(lake, params, night.day, backlog, modality_encoders, own_fingerprints)
            if backlog
            else EmbedCounts()
        )
    embedded_videos = {
        m: sorted((existing[m].keys() | counts.embedded[m]) & catalogue_videos.keys()) for m in fingerprints
    }
    return RunManifest(
        reads=reads,
        writes={name: lake.version(name) for name in ("features", "rejects")},
        row_counts=RowCounts(
            len(backlog), len(backlog) - counts.rejected.total(), dict(sorted(counts.rejected.items()))
        ),
        digests={m: hashing.hash_lines([fingerprints[m], *videos]) for m, videos in embedded_videos.items()},
        facts={
            "fingerprints": {m: fingerprints[m] for m in MODALITIES if m in fingerprints},
            "videos": len(catalogue_videos),
            "videos_with_vectors": {m: len(videos) for m, videos in embedded_videos.items()},
            "newly_embedded": {m: len(counts.embedded[m]) for m in modality_encoders},
            "missing_modality": {
                m: counts.missing_modality[m] for m in modality_encoders if m in MISSING_STREAM_REASONS
            },
            "partially_decoded": counts.partially_decoded,
        },
    )


def _shard(backlog: list[BacklogVideo]) -> list[BacklogVideo]:
    """Return the videos of the shard that UNDERCURRENT_EMBED_SHARD names, or all. A video's id is hashed.

    Raises:
        InputError: The variable names no shard.
    """
    text = os.environ.get("UNDERCURRENT_EMBED_SHARD", "1/1")
    match = SHARD_PATTERN.fullmatch(text)
    shard, num_shards = map(int, match.groups()) if match else (0, 0)
    if not 1 <= shard <= num_shards:
        raise InputError(f"UNDERCURRENT_EMBED_SHARD is {text!r}; write SHARD/SHARDS, such as 2/8")
    return [v for v in backlog if int(hashing.hash_lines([v.video_id])[:8], 16) % num_shards == shard - 1]


def _build_encoders(params: EmbedConfig) -> dict[str, Encoder]:
    """Build the encoder of each modality that is on and has no landed vectors."""
    makers = {
        "visual": encoders.build_image_encoder,
        "text": encoders.build_text_encoder,
        "audio": encoders.build_audio_encoder,
    }
    encoder_names = {name: getattr(params, name) for name in MODALITIES}
    key = "device"
    try:
        device = encoders.select_devices(params.device)[0]
        built: dict[str, Encoder] = {}
        for key, encoder_name in encoder_names.items():
            if encoder_name not in (LANDED_FINGERPRINT, NONE):
                built[key] = makers[key](encoder_name, device, params.precision)
    except ValueError as error:
        raise InputError(f"params.yaml: embed.{key}: {error}") from None
    return built


def _fingerprints(params: EmbedConfig, modality_encoders: Mapping[str, Encoder]) -> dict[str, str]:
    """Return the fingerprint of each modality that is embedded here."""
    grid = {"segment_seconds": params.segment_seconds, "max_segments": params.max_segments}
    frames = {
        "frames_per_segment": params.frames_per_segment,
        "frames_per_video": params.frames_per_video,
    }
    sampling: dict[str, dict[str, Any]] = {
        "visual": grid | frames,
        "text": TEXT_FINGERPRINT,
        "audio": grid,
    }
    return {
        modality: encoder.fingerprint(sampling[modality]) for modality, encoder in modality_encoders.items()
    }


def _embed_videos(
    lake: Lake,
    params: EmbedConfig,
    day: date,
    backlog: Sequence[BacklogVideo],
    modality_encoders: Mapping[str, Encoder],
    fingerprints: Mapping[str, str],
) -> EmbedCounts:
    """Decode in parallel processes, encode, and commit whenever `commit_mib` is reached."""
    counts = EmbedCounts()
    devices = encoders.select_devices(params.device)
    size = params.batch_size * len(devices)
    batches = {
        m: BatchEncoder(m, EncoderReplicas(encoder, devices).encode, size)
        for m, encoder in modality_encoders.items()
    }
    uris = [video.media_uri for video in backlog if video.needs_media]
    sampling, media_rejects = _media_sampling(params, backlog, modality_encoders), MediaRejects(lake, day)
    commit_bytes = params.commit_mib * (1 << 20)
    source = (paths.landing(), sampling, _decode_limits(params), params.decode_workers)
    with DecoderPool(*source, roots=paths.media_roots()) as decoders:
        clips = decoders.decode(uris)
        for videos, rejects in _encode_chunks(backlog, clips, batches, day, counts, commit_bytes):
            vectors = {modality: batch.finish() for modality, batch in batches.items()}
            for modality, by_video in vectors.items():
                counts.embedded[modality].update(by_video)
            media_rejects.commit(videos, rejects)
            if any(vectors.values()):
                _commit_vectors(lake, videos, vectors, fingerprints, params.segment_seconds, day)
    return counts


def _encode_chunks(
    backlog: Sequence[BacklogVideo],
    clips: Iterator[DecodedVideo | UnreadableMedia],
    batches: Mapping[str, BatchEncoder],
    day: date,
    counts: EmbedCounts,
    commit_bytes: float,
) -> Iterator[tuple[list[BacklogVideo], list[RejectRow]]]:
    """Encode the backlog, and yield the videos and their rejects each time a commit is large enough."""
    videos, rejects = list[BacklogVideo](), list[RejectRow]()
    for video in tqdm(backlog, "embed", unit="video"):
        videos.append(video)
        rejects += _encode_video(video, clips, batches, day, counts)
        for batch in batches.values():
            batch.encode_pending()
        pending_bytes = sum(batch.pending_bytes for batch in batches.values())
        if pending_bytes + REJECT_BYTES * len(rejects) >= commit_bytes:
            yield videos, rejects
            videos, rejects = [], []
    if videos:
        yield videos, rejects


def _commit_vectors(
    lake: Lake,
    videos: Sequence[BacklogVideo],
    vectors: Mapping[str, SegmentVectors],
    fingerprints: Mapping[str, str],
    segment_seconds: float,
    day: date,
) -> None:
    """Commit vectors. The same transaction deletes a video's vectors of another file or text."""
    sources = {(m, video.video_id): video.source_digests[m] for video in videos for m in video.missing}
    stale = {
        m: frozenset(video.video_id for video in videos if m in video.stale and video.video_id in vectors[m])
        for m in sorted(vectors)
    }
    replaced = [
        {"fingerprint": fingerprints[m], "modality": m, "video_id": video_ids}
        for m, video_ids in stale.items()
        if video_ids
    ]
    lake.write("features", feature_rows(vectors, fingerprints, sources, segment_seconds, day), replaced)


def _media_sampling(
    params: EmbedConfig, backlog: Sequence[BacklogVideo], modality_encoders: Mapping[str, Encoder]
) -> SamplingConfig:
    """Return what to decode. A modality that no video of the backlog lacks is not decoded."""
    missing = {modality for video in backlog for modality in video.missing}
    visual, audio = (modality_encoders.get(m) if m in missing else None for m in ("visual", "audio"))
    return SamplingConfig(
        params.segment_seconds,
        params.max_segments,
        params.frames_per_segment,
        visual.image_size if isinstance(visual, ImageEncoder) else None,
        visual.resize_mode if isinstance(visual, ImageEncoder) else "shortest",
        audio.sample_rate if isinstance(audio, AudioEncoder) else None,
        params.frames_per_video,
    )


def _decode_limits(params: EmbedConfig) -> DecodeLimits:
    return DecodeLimits(
        params.decode_seconds,
        params.decode_memory_mib << 20,
        params.max_mib * (1 << 20),
        params.max_minutes * 60,
        int(params.max_megapixels * 1_000_000),
    )


def _encode_video(
    video: BacklogVideo,
    clips: Iterator[DecodedVideo | UnreadableMedia],
    batches: Mapping[str, BatchEncoder],
    day: date,
    counts: EmbedCounts,
) -> Iterator[RejectRow]:
    """Add one video to the encoders, and yield its rejects.

    The media of the video is the next of `clips`.
    """
    if "text" in video.missing:
        batches["text"].add(video.video_id, WHOLE_VIDEO, [video.text])
    if not video.needs_media:
        return
    clip = _next_clip(clips)
    if isinstance(clip, UnreadableMedia):
        counts.rejected[clip.reason] += 1
        yield reject_row(video, day, UNREADABLE_FILE_REJECT_STEP, clip.reason, clip.detail)
        return
    counts.partially_decoded += bool(clip.decode_errors)
    for modality, segments in (("visual", clip.frames), ("audio", clip.audio)):
        if modality not in video.missing:
            continue
        for segment, samples in sorted(segments.items()):
            batches[modality].add(
                video.video_id, segment, list(samples) if modality == "visual" else [samples]
            )
        if not segments:
            counts.missing_modality[modality] += 1
            stream = "video" if modality == "visual" else "audio"
            reason = (
                "; ".join(text for text in clip.decode_errors if text.startswith(stream))
                or f"the file has no {stream} stream"
            )
            yield reject_row(video, day, reject_step(modality), MISSING_STREAM_REASONS[modality], reason)


def _next_clip(clips: Iterator[DecodedVideo | UnreadableMedia]) -> DecodedVideo | UnreadableMedia:
    try:
        return next(clips)
    except MediaStoreUnavailable as error:
        if error.may_recover:
            raise ServiceUnavailableError(f"{error}; start the media store and run again") from None
        raise InputError(
            f"{error}; set the address and credentials of the media store in AWS_… variables and run again"
        ) from None


if __name__ == "__main__":
    sys.exit(step_cli.main("embed", run, __doc__))
