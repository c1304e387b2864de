"""Embed the pictures, sound and text of videos that have no current vectors.

A video is embedded again if its newest record has another `media_uri` or text. Its old vectors are replaced.
The same `media_uri` counts as the same file.

UNDERCURRENT_EMBED_SHARD, such as 2/8, limits a run to one shard of the backlog (1 to 8). Shards wait for one
another, because one process at a time embeds.

The text of a video is its caption. What is said or shown in its file joins it, if readers are on.

A video with unreadable media is a reject with its reason. Its caption is still embedded. Every run tries
media again that were missing or took too long. A killed run keeps its commits.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from tqdm import tqdm

from core import hashing, paths, step_cli
from core.config import EmbedConfig
from core.errors import InputError, ServiceUnavailableError
from core.paths import Night
from core.records import LANDED_FINGERPRINT
from core.run_manifests import RowCounts, RunManifest
from core.tables import MODALITIES
from features.embed_models import STILL_SIZE, EmbedModels, build_models
from features.embedding import SegmentVectors, feature_rows
from features.embedding_backlog import (
    BacklogVideo,
    embedded_sources,
    find_backlog,
    known_videos,
)
from features.media_rejects import MediaRejects, RejectRow
from features.video_encoder import EmbedCounts, VideoEncoder
from lake.audits import visible_lake
from lake.client import Lake
from media.clip import DecodedVideo, DecodeLimits, MediaStoreUnavailable, SamplingConfig, UnreadableMedia
from media.decoders import DecoderPool
from models.encoders import ImageEncoder

SHARD_PATTERN = re.compile(r"(\d{1,5})/(\d{1,5})", re.ASCII)
REJECT_BYTES = 256  # a reject has no vector, but counts towards the size of a commit


def run(params: EmbedConfig, night: Night) -> RunManifest:
    """Embed the backlog of the night, or a shard of it, with a commit after every `commit_mib` of vectors.

    Raises:
        InputError: An encoder cannot be built, or the media store refuses access.
        ServiceUnavailableError: The media store does not answer.
    """
    lake = visible_lake(night.day)
    models = build_models(params)
    landed_fingerprints = {
        modality: LANDED_FINGERPRINT
        for modality in MODALITIES
        if getattr(params, modality) == LANDED_FINGERPRINT
    }
    fingerprints = {**models.fingerprints, **landed_fingerprints}
    with lake.lock("embed"):
        reads = {"videos": lake.version("videos")}
        catalogue_videos = known_videos(lake, night.day)
        existing = embedded_sources(lake, night.day, fingerprints)
        backlog = _shard(
            find_backlog(
                lake,
                catalogue_videos,
                {modality: existing[modality] for modality in models.encoders},
                models.media_text_step,
            )
        )
        counts = _embed_videos(lake, params, night.day, backlog, models) if backlog else EmbedCounts()
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
            "newly_embedded": {m: len(counts.embedded[m]) for m in models.encoders},
            "missing_modality": {
                m: counts.missing_modality[m] for m in models.encoders if models.can_be_missing(m)
            },
            "partially_decoded": counts.partially_decoded,
            "seconds_per_1000_videos": counts.seconds_per_1000_videos,
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


def _embed_videos(
    lake: Lake, params: EmbedConfig, day: date, backlog: Sequence[BacklogVideo], models: EmbedModels
) -> EmbedCounts:
    """Decode in parallel processes, encode, and commit whenever `commit_mib` is reached."""
    encoder = VideoEncoder(params, day, models)
    uris = [video.media_uri for video in backlog if video.needs_media]
    sampling, media_rejects = _media_sampling(params, backlog, models), MediaRejects(lake, day)
    commit_bytes = params.commit_mib * (1 << 20)
    source = (paths.landing(), sampling, _decode_limits(params), params.decode_workers)
    with DecoderPool(*source, roots=paths.media_roots()) as decoders:
        clips = decoders.decode(uris)
        for videos, rejects in _encode_chunks(backlog, clips, encoder, commit_bytes):
            vectors = encoder.finish()
            media_rejects.commit(videos, rejects)
            if any(vectors.values()):
                fingerprints = models.fingerprints
                _commit_vectors(lake, videos, vectors, fingerprints, params.segment_seconds, day)
    encoder.count_seconds()
    return encoder.counts


def _encode_chunks(
    backlog: Sequence[BacklogVideo],
    clips: Iterator[DecodedVideo | UnreadableMedia],
    encoder: VideoEncoder,
    commit_bytes: float,
) -> Iterator[tuple[list[BacklogVideo], list[RejectRow]]]:
    """Encode the backlog, and yield the videos and their rejects each time a commit is large enough."""
    videos, rejects = list[BacklogVideo](), list[RejectRow]()
    for video in tqdm(backlog, "embed", unit="video"):
        clip = _next_clip(clips) if video.needs_media else None
        videos.append(video.without_media_text() if isinstance(clip, UnreadableMedia) else video)
        rejects += encoder.encode(videos[-1], clip)
        if encoder.pending_bytes + REJECT_BYTES * len(rejects) >= commit_bytes:
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
    params: EmbedConfig, backlog: Sequence[BacklogVideo], models: EmbedModels
) -> SamplingConfig:
    """Return what to decode. What no video of the backlog lacks is not decoded."""
    missing = {modality for video in backlog for modality in video.missing}
    visual = models.encoders.get("visual") if "visual" in missing else None
    readers = models.readers if any(video.reads_media_text for video in backlog) else {}
    hears = ("audio" in missing and "audio" in models.encoders) or "transcript" in readers
    return SamplingConfig(
        params.segment_seconds,
        params.max_segments,
        params.frames_per_segment,
        visual.image_size if isinstance(visual, ImageEncoder) else None,
        visual.resize_mode if isinstance(visual, ImageEncoder) else "shortest",
        models.sample_rate if hears else None,
        params.frames_per_video,
        STILL_SIZE if readers.keys() - {"transcript"} else None,
        params.stills_per_video,
    )


def _decode_limits(params: EmbedConfig) -> DecodeLimits:
    return DecodeLimits(
        params.decode_seconds,
        params.decode_memory_mib << 20,
        params.max_mib * (1 << 20),
        params.max_minutes * 60,
        int(params.max_megapixels * 1_000_000),
    )


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
