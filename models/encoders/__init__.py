"""Encoders of images, text and audio: each gives unit vectors and has a fingerprint.

`base.py` has the interface. Each other file is a family: open_clip, CLAP, sentence encoders, and the embedded
default, which needs no download. The functions here build the encoder that a value of params.yaml names.
"""

import torch

from models.encoders.base import Encoder, Precision, hash_weights, select_devices, select_dtype
from models.encoders.clap import CLAP_PREFIX, AudioEncoder, load_clap
from models.encoders.clip import OPEN_CLIP_PREFIX, ClipTextEncoder, ImageEncoder, TextEncoder, load_open_clip
from models.encoders.default import (
    CLAP_NAME,
    CLIP_NAME,
    DEFAULTS,
    default_dtype,
    load_default_clap,
    load_default_clip,
)
from models.encoders.replicas import EncoderReplicas

__all__ = [
    "AudioEncoder",
    "Encoder",
    "EncoderReplicas",
    "ImageEncoder",
    "TextEncoder",
    "build_audio_encoder",
    "build_image_encoder",
    "build_text_encoder",
    "hash_weights",
    "select_devices",
]

SENTENCE_PREFIX = "sentence:"


def build_image_encoder(
    encoder_name: str, device: torch.device, precision: Precision = "fp32"
) -> ImageEncoder:
    """Build the encoder that `embed.visual` names.

    Raises:
        ValueError: The name is unknown, or the weights cannot be loaded.
    """
    if encoder_name in DEFAULTS:
        return ImageEncoder(CLIP_NAME, load_default_clip(encoder_name, default_dtype(precision))[0], device)
    if encoder_name.startswith(OPEN_CLIP_PREFIX):
        name, model, _ = load_open_clip(encoder_name, select_dtype(precision, device))
        return ImageEncoder(name, model, device)
    raise ValueError(
        f"{encoder_name!r} is not an image encoder; write default or "
        "open_clip:<model>:<pretrained tag or file>"
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
    raise ValueError(
        f"{encoder_name!r} is not a text encoder; write default, open_clip:<model>:<pretrained tag or file>, "
        "or sentence:<hub name or folder>"
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
