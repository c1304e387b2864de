"""Encoders of pictures, text and sound: each gives unit vectors and knows its fingerprint.

`base.py` has the interface; each other file is a family: open_clip, CLAP, sentence encoders, and the embedded
default, which needs no download. Below is which spec of params.yaml names which.
"""

import torch

from models.encoders.base import Encoder, Precision, pick_devices, pick_dtype, weights_digest
from models.encoders.clap import CLAP, SoundEncoder, clap_model
from models.encoders.clip import OPEN_CLIP, ClipTextEncoder, ImageEncoder, TextEncoder, open_clip_model
from models.encoders.default import CLAP_NAME, CLIP_NAME, DEFAULTS, default_clap, default_clip, default_dtype
from models.encoders.replicas import Replicas

__all__ = [
    "Encoder",
    "ImageEncoder",
    "Replicas",
    "SoundEncoder",
    "TextEncoder",
    "image_encoder",
    "pick_devices",
    "sound_encoder",
    "text_encoder",
    "weights_digest",
]

SENTENCE = "sentence:"


def image_encoder(spec: str, device: torch.device, precision: Precision = "fp32") -> ImageEncoder:
    """The encoder that `embed.visual` names.

    Raises:
        ValueError: nobody knows it, or its weights cannot be had; one sentence.
    """
    if spec in DEFAULTS:
        return ImageEncoder(CLIP_NAME, default_clip(spec, default_dtype(precision))[0], device)
    if spec.startswith(OPEN_CLIP):
        name, model, _ = open_clip_model(spec, pick_dtype(precision, device))
        return ImageEncoder(name, model, device)
    raise ValueError(
        f"{spec!r} is no picture encoder; write default or open_clip:<model>:<pretrained tag or file>"
    )


def text_encoder(spec: str, device: torch.device, precision: Precision = "fp32") -> TextEncoder:
    """The encoder that `embed.text` names.

    Raises:
        ValueError: as for `image_encoder`.
    """
    if spec in DEFAULTS:
        return ClipTextEncoder(CLIP_NAME, *default_clip(spec, default_dtype(precision)), device)
    if spec.startswith(OPEN_CLIP):
        name, model, tokenizer = open_clip_model(spec, pick_dtype(precision, device))
        return ClipTextEncoder(name, model, tokenizer, device)
    if spec.startswith(SENTENCE):
        from models.encoders.sentence import SentenceEncoder, sentence_model  # for 2 s

        return SentenceEncoder(
            sentence_model(spec.removeprefix(SENTENCE), pick_dtype(precision, device)), device
        )
    raise ValueError(
        f"{spec!r} is no text encoder; write default, open_clip:<model>:<pretrained tag or file>, "
        "or sentence:<hub name or folder>"
    )


def sound_encoder(spec: str, device: torch.device, precision: Precision = "fp32") -> SoundEncoder:
    """The encoder that `embed.audio` names.

    Raises:
        ValueError: as for `image_encoder`.
    """
    if spec in DEFAULTS:
        return SoundEncoder(CLAP_NAME, *default_clap(spec, default_dtype(precision)), device)
    if spec.startswith(CLAP):
        return SoundEncoder("clap", *clap_model(spec, pick_dtype(precision, device)), device)
    raise ValueError(f"{spec!r} is no sound encoder; write default or clap:<hub name or folder>")
