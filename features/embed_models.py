"""The encoders and readers of a run of `embed`, as params.yaml names them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.config import EmbedConfig
from core.errors import InputError
from core.records import LANDED_FINGERPRINT
from core.tables import MODALITIES
from features.embedding_backlog import MISSING_STREAM_REASONS, media_text_reject_step
from features.media_text import MEDIA_TEXT_SOURCES
from features.text_normalisation import TEXT_FINGERPRINT
from models import encoders
from models.encoders import Encoder, Reader

NONE = "none"
SPEECH_SAMPLE_RATE = 16_000  # Hz, of Whisper; used if no audio encoder needs another one
STILL_SIZE = 960  # pixels, longest side: subtitles stay readable


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


def build_models(params: EmbedConfig) -> EmbedModels:
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
