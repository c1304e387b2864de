"""Encoding of decoded videos one after another, with counts of what they lack and what it costs."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from core.config import EmbedConfig
from core.tables import WHOLE_VIDEO
from features.embed_models import EmbedModels
from features.embedding import BatchEncoder, SegmentVectors
from features.embedding_backlog import (
    MISSING_STREAM_REASONS,
    UNREADABLE_FILE_REJECT_STEP,
    BacklogVideo,
    reject_step,
)
from features.media_rejects import RejectRow, reject_row
from features.media_text import NO_TEXT_REASON, READER_FAILED_REASON, read_media_text
from media.clip import DecodedVideo, UnreadableMedia
from models import encoders
from models.encoders import EncoderReplicas, ReaderFailedError, WhisperReader


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
        texts, step = [video.text] if video.text else [], str(self._models.media_text_step)
        reason, detail = NO_TEXT_REASON, "no caption, and the readers found no text"
        try:
            if video.reads_media_text and isinstance(clip, DecodedVideo):
                texts += self._read(clip)
        except ReaderFailedError as error:
            reason, detail = READER_FAILED_REASON, str(error)
        if texts:
            self._batches["text"].add(video.video_id, WHOLE_VIDEO, texts)
        else:
            self.counts.missing_modality["text"] += 1
        is_reject = not texts or reason == READER_FAILED_REASON
        return [reject_row(video, self._day, step, reason, detail)] if is_reject else []

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
