"""The embedded default: a tiny CLIP and the sound half of a tiny CLAP, which need no download.

Their weights are a seeded initialisation: random features, which tell patterns, colours, words and sounds
apart but do not yet know that a picture and a caption mean the same. Trained weights would be loaded at the
end of `default_clip` and `default_clap`; their digest is part of the fingerprint, so nothing else changes.
"""

from typing import Any

import torch
from open_clip import CLIP, SimpleTokenizer
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, set_model_preprocess_cfg
from open_clip.transform import PreprocessCfg
from transformers import ClapAudioConfig, ClapAudioModelWithProjection, ClapFeatureExtractor

SEED = 20260301
WIDTH = 64  # D of all three
CONTEXT = 64  # tokens of a text

VISION = CLIPVisionCfg(layers=3, width=96, head_width=32, patch_size=8, image_size=64)
TEXT = CLIPTextCfg(context_length=CONTEXT, width=64, heads=2, layers=2)
MEL_BANDS = 32
EXTRACTION: dict[str, Any] = {  # 5 s at 16 kHz
    "feature_size": MEL_BANDS,
    "sampling_rate": 16_000,
    "fft_window_size": 512,
    "hop_length": 160,
    "max_length_s": 5,
    "frequency_min": 50,
    "frequency_max": 8_000,
    "truncation": "rand_trunc",
}
SOUND: dict[str, Any] = {
    "num_mel_bins": MEL_BANDS,
    "spec_size": 128,
    "patch_embeds_hidden_size": 24,
    "depths": [1, 1, 1],
    "num_attention_heads": [2, 4, 4],
    "hidden_size": 96,
    "projection_dim": WIDTH,
}
MEL_DECIBEL = (-40.0, 20.0)  # mean and deviation of log-mel levels of common sound

# What the weights' digest does not tell about the architectures, for the fingerprints.
CLIP_NAME = f"default {VISION} {TEXT}"
CLAP_NAME = f"default {SOUND}"


def default_clip() -> tuple[CLIP, SimpleTokenizer]:
    """The tiny CLIP (64-pixel pictures, squashed to a square) and open_clip's own tokenizer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = CLIP(WIDTH, VISION, TEXT)
    set_model_preprocess_cfg(model, vars(PreprocessCfg(size=VISION.image_size, resize_mode="squash")))
    return model, SimpleTokenizer(context_length=CONTEXT)


def default_clap() -> tuple[ClapAudioModelWithProjection, ClapFeatureExtractor]:
    """The tiny sound model and its feature extractor."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = ClapAudioModelWithProjection(ClapAudioConfig(**SOUND))
    mean, deviation = MEL_DECIBEL
    norm = model.audio_model.audio_encoder.batch_norm  # untrained, it would let the level drown the sound
    levels = {
        "running_mean": torch.full((MEL_BANDS,), mean),
        "running_var": torch.full((MEL_BANDS,), deviation**2),
    }
    norm.load_state_dict(levels, strict=False)
    return model, ClapFeatureExtractor(**EXTRACTION)
