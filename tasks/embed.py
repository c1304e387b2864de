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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
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
    media_text_reject_step,
    reject_step,
)
from features.media_rejects import MediaRejects, RejectRow, reject_row
from features.media_text import MEDIA_TEXT_SOURCES, NO_TEXT_REASON, read_media_text
from features.text_normalisation import TEXT_FINGERPRINT
from lake.audits import visible_lake
from lake.client import Lake
from media.clip import DecodedVideo, DecodeLimits, MediaStoreUnavailable, SamplingConfig, UnreadableMedia
from media.decoders import DecoderPool
from models import encoders
from models.encoders import Encoder, EncoderReplicas, ImageEncoder, Reader, WhisperReader

NONE = "none"
SHARD_PATTERN = re.compile(r"(\d{1,5})/(\d{1,5})", re.ASCII)
REJECT_BYTES = 256  # a reject has no vector, but counts towards the size of a commit
SPEECH_SAMPLE_RATE = 16_000  # Hz, of Whisper; used if no audio encoder needs another one
STILL_SIZE = 960  # pixels, longest side: subtitles stay readable


@dataclass
class EmbedCounts:
    """Counts of a run.

    Attributes:
        rejected: Reject reason -> videos whose media could not be read.
        missing_modality: Modality -> videos whose media have no stream for it.
        embedded: Modality -> embedded videos.
        read: Source of media text -> videos whose file it read.
        seconds_per_1000_videos: Modality or source of media text -> seconds of its encoder or reader, and on
            a GPU `gpu`, the seconds in which GPUs were held.
        partially_decoded: Videos with decoding errors that still gave some samples.
    """

    rejected: Counter[str] = field(default_factory=Counter)
    missing_modality: Counter[str] = field(default_factory=Counter)
    embedded: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    read: Counter[str] = field(default_factory=Counter)
    seconds_per_1000_videos: dict[str, dict[str, float]] = field(default_factory=dict)
    partially_decoded: int = 0


@dataclass(frozen=True)
class EmbedModels:
    """The models of a run.

    Attributes:
        encoders: Modality -> encoder, of the modalities that are on and have no landed vectors.
        readers: Source of media text -> reader, of the sources that are on.
        fingerprints: Modality -> fingerprint of its vectors. That of text covers the readers.
        sample_rate: Rate of the decoded audio, Hz. It does not depend on what a night lacks.
    """

    encoders: Mapping[str, Encoder]
    readers: Mapping[str, Reader]
    fingerprints: Mapping[str, str]
    sample_rate: int

    @property
    def media_text_step(self) -> str | None:
        """The `rejects.step` of a video without any text, if readers are on."""
        return media_text_reject_step(self.fingerprints["text"]) if self.readers else None

    def can_be_missing(self, modality: str) -> bool:
        """Whether a readable file may lack the modality."""
        return modality in MISSING_STREAM_REASONS or bool(self.readers)


def run(params: EmbedConfig, night: Night) -> RunManifest:
    """Embed the backlog of the night, or a shard of it, with a commit after every `commit_mib` of vectors.

    Raises:
        InputError: An encoder cannot be built, or the media store refuses access.
        ServiceUnavailableError: The media store does not answer.
    """
    lake = visible_lake(night.day)
    models = _build_models(params)
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


def _build_models(params: EmbedConfig) -> EmbedModels:
    """Build the encoders and readers that are on.

    Raises:
        InputError: One of them cannot be built, or nothing encodes what the readers read.
    """
    makers: dict[str, Callable[..., Any]] = {
        "visual": encoders.build_image_encoder,
        "text": encoders.build_text_encoder,
        "audio": encoders.build_audio_encoder,
        "transcript": lambda name, device, precision: encoders.build_transcript_reader(
            name, device, precision, sample_rate
        ),
        "screen_text": lambda name, *_: encoders.build_screen_text_reader(name),
        "description": encoders.build_description_reader,
    }
    built: dict[str, Any] = {}
    sample_rate, key = SPEECH_SAMPLE_RATE, "device"
    try:
        device = encoders.select_devices(params.device)[0]
        for key in (*MODALITIES, *MEDIA_TEXT_SOURCES):
            name = getattr(params, key)
            if name not in (LANDED_FINGERPRINT, NONE):
                built[key] = makers[key](name, device, params.precision)
            if key == "audio" and key in built:
                sample_rate = built[key].sample_rate
    except ValueError as error:
        raise InputError(f"params.yaml: embed.{key}: {error}") from None
    modality_encoders = {key: built[key] for key in MODALITIES if key in built}
    readers = {key: built[key] for key in MEDIA_TEXT_SOURCES if key in built}
    if readers and "text" not in modality_encoders:
        raise InputError(
            f"params.yaml: embed.{next(iter(readers))} is on, but embed.text is {params.text}, so nothing "
            "encodes what it reads; name a text encoder or write none"
        )
    return EmbedModels(
        modality_encoders, readers, _fingerprints(params, modality_encoders, readers), sample_rate
    )


def _fingerprints(
    params: EmbedConfig, modality_encoders: Mapping[str, Encoder], readers: Mapping[str, Reader]
) -> dict[str, str]:
    """Return the fingerprint of each modality that is embedded here."""
    grid = {"segment_seconds": params.segment_seconds, "max_segments": params.max_segments}
    frames = {
        "frames_per_segment": params.frames_per_segment,
        "frames_per_video": params.frames_per_video,
    }
    stills = frames | {"stills_per_video": params.stills_per_video, "still_size": STILL_SIZE}
    read = {
        source: reader.fingerprint(grid if source == "transcript" else grid | stills)
        for source, reader in readers.items()
    }
    sampling: dict[str, dict[str, Any]] = {
        "visual": grid | frames,
        "text": TEXT_FINGERPRINT | ({"media_text": read} if read else {}),
        "audio": grid,
    }
    return {
        modality: encoder.fingerprint(sampling[modality]) for modality, encoder in modality_encoders.items()
    }


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
    encoder: "VideoEncoder",
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


class VideoEncoder:
    """Encodes videos one after another, and counts.

    Args:
        params: Section `embed` of params.yaml.
        day: The night's day.
        models: The encoders and readers.
    """

    def __init__(self, params: EmbedConfig, day: date, models: EmbedModels) -> None:
        self._day, self._models, self.counts = day, models, EmbedCounts()
        devices = encoders.select_devices(params.device)
        self._replicas = {
            name: EncoderReplicas(model, devices)
            for name, model in (*models.encoders.items(), *models.readers.items())
        }
        size = params.batch_size * len(devices)
        self._batches = {m: BatchEncoder(m, self._replicas[m].encode, size) for m in models.encoders}

    @property
    def pending_bytes(self) -> int:
        """Size of the vectors that `finish` would return now."""
        return sum(batch.pending_bytes for batch in self._batches.values())

    def encode(self, video: BacklogVideo, clip: DecodedVideo | UnreadableMedia | None) -> list[RejectRow]:
        """Encode what a video lacks, and return its rejects.

        Args:
            video: The video.
            clip: Its decoded file, or why it cannot be read. None if the file is not needed.
        """
        rejects = [] if clip is None else self._encode_media(video, clip)
        if "text" in video.missing:
            rejects += self._encode_text(video, clip)
        for batch in self._batches.values():
            batch.encode_pending()
        return rejects

    def finish(self) -> dict[str, SegmentVectors]:
        """Return the vectors of each modality since the last call."""
        vectors = {modality: batch.finish() for modality, batch in self._batches.items()}
        for modality, by_video in vectors.items():
            self.counts.embedded[modality].update(by_video)
        return vectors

    def count_seconds(self) -> None:
        """Add the cost of each encoder and reader to the counts."""
        embedded = {modality: len(videos) for modality, videos in self.counts.embedded.items()}
        for name, replicas in self._replicas.items():
            if num_videos := embedded.get(name, self.counts.read[name]):
                seconds = {"all": replicas.seconds, "gpu": replicas.gpu_seconds}
                self.counts.seconds_per_1000_videos[name] = {
                    kind: round(1000 * value / num_videos, 3)
                    for kind, value in seconds.items()
                    if value is not None
                }

    def _encode_media(self, video: BacklogVideo, clip: DecodedVideo | UnreadableMedia) -> list[RejectRow]:
        """Encode the frames and audio that a video lacks."""
        if isinstance(clip, UnreadableMedia):
            self.counts.rejected[clip.reason] += 1
            return [reject_row(video, self._day, UNREADABLE_FILE_REJECT_STEP, clip.reason, clip.detail)]
        self.counts.partially_decoded += bool(clip.decode_errors)
        rejects = []
        for modality, segments in (("visual", clip.frames), ("audio", clip.audio)):
            if modality not in video.missing:
                continue
            for segment, samples in sorted(segments.items()):
                inputs = list(samples) if modality == "visual" else [samples]
                self._batches[modality].add(video.video_id, segment, inputs)
            if not segments:
                self.counts.missing_modality[modality] += 1
                rejects.append(_missing_stream(video, self._day, modality, clip))
        return rejects

    def _encode_text(
        self, video: BacklogVideo, clip: DecodedVideo | UnreadableMedia | None
    ) -> list[RejectRow]:
        """Encode the caption of a video and what the readers find in its file."""
        texts = [video.text] if video.text else []
        if video.reads_media_text and isinstance(clip, DecodedVideo):
            texts += self._read(clip)
        if texts:
            self._batches["text"].add(video.video_id, WHOLE_VIDEO, texts)
            return []
        self.counts.missing_modality["text"] += 1
        step, detail = str(self._models.media_text_step), "no caption, and the readers found no text"
        return [reject_row(video, self._day, step, NO_TEXT_REASON, detail)]

    def _read(self, clip: DecodedVideo) -> list[str]:
        """Return the texts of a file."""
        whisper, audio = self._models.readers.get("transcript"), [clip.audio[n] for n in sorted(clip.audio)]
        windows = whisper.split(np.concatenate(audio)) if isinstance(whisper, WhisperReader) and audio else []
        inputs = {"transcript": windows, "screen_text": clip.stills, "description": clip.stills}
        self.counts.read.update(source for source in self._models.readers if inputs[source])
        readers = {source: self._replicas[source].encode for source in self._models.readers}
        return read_media_text(readers, inputs)


def _missing_stream(video: BacklogVideo, day: date, modality: str, clip: DecodedVideo) -> RejectRow:
    """Return the reject of a readable file without a stream for the modality."""
    stream = "video" if modality == "visual" else "audio"
    errors = "; ".join(text for text in clip.decode_errors if text.startswith(stream))
    detail = errors or f"the file has no {stream} stream"
    return reject_row(video, day, reject_step(modality), MISSING_STREAM_REASONS[modality], detail)


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
