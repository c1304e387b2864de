"""Encoders of images, text and audio give unit vectors. Readers give text. Each has a fingerprint.

`base.py` has the interface. Each other file is a family: open_clip, SigLIP, CLAP, sentence encoders, and the
embedded default, which needs no download. Whisper, BLIP and screen text are readers: what they read from a
video's file joins its text. The functions here build what a value of params.yaml names.
"""

import torch

from models.encoders.base import (
    Encoder,
    Precision,
    hash_weights,
    select_devices,
    select_dtype,
)
from models.encoders.blip import BLIP_PREFIX, BlipReader, build_blip_reader
from models.encoders.clap import CLAP_PREFIX, AudioEncoder, load_clap
from models.encoders.clip import (
    OPEN_CLIP_PREFIX,
    ClipImageEncoder,
    ClipTextEncoder,
    ImageEncoder,
    TextEncoder,
    load_open_clip,
)
from models.encoders.default import (
    CLAP_NAME,
    CLIP_NAME,
    DEFAULTS,
    default_dtype,
    load_default_clap,
    load_default_clip,
)
from models.encoders.replicas import EncoderReplicas
from models.encoders.screen_text import ReaderFailedError, ScreenTextReader, build_screen_text_reader
from models.encoders.siglip import SIGLIP_PREFIX, build_siglip_image_encoder, build_siglip_text_encoder
from models.encoders.whisper import WHISPER_PREFIX, WhisperReader, build_whisper_reader

__all__ = [
    "AudioEncoder",
    "Encoder",
    "EncoderReplicas",
    "ImageEncoder",
    "Reader",
    "ReaderFailedError",
    "TextEncoder",
    "WhisperReader",
    "build_audio_encoder",
    "build_description_reader",
    "build_image_encoder",
    "build_screen_text_reader",
    "build_text_encoder",
    "build_transcript_reader",
    "hash_weights",
    "select_devices",
]

SENTENCE_PREFIX = "sentence:"

Reader = WhisperReader | ScreenTextReader | BlipReader  # of media text


def build_image_encoder(
    encoder_name: str, device: torch.device, precision: Precision = "fp32"
) -> ImageEncoder:
    """Build the encoder that `embed.visual` names.

    Raises:
        ValueError: The name is unknown, or the weights cannot be loaded.
    """
    if encoder_name in DEFAULTS:
        return ClipImageEncoder(
            CLIP_NAME, load_default_clip(encoder_name, default_dtype(precision))[0], device
        )
    if encoder_name.startswith(OPEN_CLIP_PREFIX):
        name, model, _ = load_open_clip(encoder_name, select_dtype(precision, device))
        return ClipImageEncoder(name, model, device)
    if encoder_name.startswith(SIGLIP_PREFIX):
        return build_siglip_image_encoder(encoder_name, select_dtype(precision, device), device)
    raise ValueError(
        f"{encoder_name!r} is not an image encoder; write default, "
        "open_clip:<model>:<pretrained tag or file>, or siglip:<folder>"
    )


def build_text_encoder(encoder_name: str, device: torch.device, precision: Precision = "fp32") -> TextEncoder:
    """Build the encoder that `embed.text` names.

    Raises:
        ValueError: As for `build_image_encoder`.
    """
    if encoder_name in DEFAULTS:
        return ClipTextEncoder(CLIP_NAME, *load_default_clip(encoder_name, default_dtype(precision)), device)
    if encoder_name.startswith(OPEN_CLIP_PREFIX):
        name, model, tokenizer = load_open_clip(encoder_name, select_dtype(precision, device))
        return ClipTextEncoder(name, model, tokenizer, device)
    if encoder_name.startswith(SENTENCE_PREFIX):
        from models.encoders.sentence import SentenceEncoder, load_sentence_transformer  # importing takes 2 s

        name, dtype = encoder_name.removeprefix(SENTENCE_PREFIX), select_dtype(precision, device)
        return SentenceEncoder(load_sentence_transformer(name, dtype), device)
    if encoder_name.startswith(SIGLIP_PREFIX):
        return build_siglip_text_encoder(encoder_name, select_dtype(precision, device), device)
    raise ValueError(
        f"{encoder_name!r} is not a text encoder; write default, open_clip:<model>:<pretrained tag or file>, "
        "siglip:<folder>, or sentence:<hub name or folder>"
    )


def build_audio_encoder(
    encoder_name: str, device: torch.device, precision: Precision = "fp32"
) -> AudioEncoder:
    """Build the encoder that `embed.audio` names.

    Raises:
        ValueError: As for `build_image_encoder`.
    """
    if encoder_name in DEFAULTS:
        return AudioEncoder(CLAP_NAME, *load_default_clap(encoder_name, default_dtype(precision)), device)
    if encoder_name.startswith(CLAP_PREFIX):
        return AudioEncoder("clap", *load_clap(encoder_name, select_dtype(precision, device)), device)
    raise ValueError(f"{encoder_name!r} is not an audio encoder; write default or clap:<hub name or folder>")


def build_transcript_reader(
    encoder_name: str, device: torch.device, precision: Precision, input_rate: int
) -> WhisperReader:
    """Build the reader that `embed.transcript` names.

    Args:
        encoder_name: The value of params.yaml.
        device: The first device.
        precision: As for encoders.
        input_rate: Rate of the audio that it gets, Hz.

    Raises:
        ValueError: As for `build_image_encoder`.
    """
    if encoder_name.startswith(WHISPER_PREFIX):
        return build_whisper_reader(encoder_name, select_dtype(precision, device), input_rate, device)
    raise ValueError(f"{encoder_name!r} is no reader of speech; write none or whisper:<folder>")


def build_description_reader(
    encoder_name: str, device: torch.device, precision: Precision = "fp32"
) -> BlipReader:
    """Build the reader that `embed.description` names.

    Raises:
        ValueError: As for `build_image_encoder`.
    """
    if encoder_name.startswith(BLIP_PREFIX):
        return build_blip_reader(encoder_name, select_dtype(precision, device), device)
    raise ValueError(f"{encoder_name!r} describes no images; write none or blip:<folder>")
