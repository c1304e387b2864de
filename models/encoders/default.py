"""The embedded default encoders: a tiny CLIP and the audio half of a tiny CLAP in one space.

They need no download. Their weights are in models/weights, made by `undercurrent pretrain`; card.json
describes the training data. `untrained` is the seeded initialisation that training started from, for
comparison.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip import CLIP, SimpleTokenizer
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, set_model_preprocess_cfg
from open_clip.transform import PreprocessCfg
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import ClapAudioConfig, ClapAudioModelWithProjection, ClapFeatureExtractor

from models.encoders.base import Precision

DEFAULT, UNTRAINED = "default", "untrained"
DEFAULTS = (DEFAULT, UNTRAINED)
WEIGHTS_FOLDER = Path(__file__).resolve().parents[1] / "weights"
CLIP_FILE, CLAP_FILE = "clip.safetensors", "clap.safetensors"

SEED = 20260301
EMBEDDING_WIDTH = 64  # D of images, text and audio
CONTEXT_LENGTH = 64  # tokens of a text
# A third of CLIP's, so that the table is 2 MB and most tokens occur in training.
VOCABULARY_SIZE = 16_384
NUM_BYTE_TOKENS = 512  # tokens of single bytes, within a word and at its end

VISION_CONFIG = CLIPVisionCfg(layers=3, width=96, head_width=32, patch_size=8, image_size=64)
TEXT_CONFIG = CLIPTextCfg(
    context_length=CONTEXT_LENGTH, vocab_size=VOCABULARY_SIZE, width=64, heads=2, layers=2
)
MEL_BANDS = 32
FEATURE_EXTRACTOR_CONFIG: dict[str, Any] = {  # 5 s at 16 kHz
    "feature_size": MEL_BANDS,
    "sampling_rate": 16_000,
    "fft_window_size": 512,
    "hop_length": 160,
    "max_length_s": 5,
    "frequency_min": 50,
    "frequency_max": 8_000,
    "truncation": "rand_trunc",
}
AUDIO_CONFIG: dict[str, Any] = {
    "num_mel_bins": MEL_BANDS,
    "spec_size": 128,
    "patch_embeds_hidden_size": 24,
    "depths": [1, 1, 1],
    "num_attention_heads": [2, 4, 4],
    "hidden_size": 96,
    "projection_dim": EMBEDDING_WIDTH,
}
MEL_MEAN_AND_STD = (-40.0, 20.0)  # of the log-mel levels of common audio

# The fingerprints need the architectures, which the digest of the weights does not cover.
CLIP_NAME = f"default {VISION_CONFIG} {TEXT_CONFIG}"
CLAP_NAME = f"default {AUDIO_CONFIG}"


class SmallTokenizer(SimpleTokenizer):
    """open_clip's tokenizer with the most frequent merges only. A rare word is split into common parts."""

    encoder: dict[str, int]
    decoder: dict[int, str]
    bpe_ranks: dict[tuple[str, str], int]
    sot_token_id: int
    eot_token_id: int

    def __init__(self) -> None:
        super().__init__(context_length=CONTEXT_LENGTH)
        specials = self.decoder[self.sot_token_id], self.decoder[self.eot_token_id]
        single = VOCABULARY_SIZE - len(specials)
        self.word_id_range = (NUM_BYTE_TOKENS, single)  # ids of merged tokens
        self.bpe_ranks = {
            pair: rank for pair, rank in self.bpe_ranks.items() if rank < single - NUM_BYTE_TOKENS
        }
        self.encoder = {token: number for token, number in self.encoder.items() if number < single}
        self.encoder |= {token: single + i for i, token in enumerate(specials)}
        self.decoder = {number: token for token, number in self.encoder.items()}
        self.vocab_size = VOCABULARY_SIZE
        self.all_special_ids = [self.encoder[token] for token in specials]
        self.sot_token_id, self.eot_token_id = self.all_special_ids

    def token_rows(self, ids_NX: np.ndarray) -> Tensor:
        """Return the model's input [N, CONTEXT_LENGTH] for N texts of X tokens each."""
        rows_NT = torch.zeros(len(ids_NX), CONTEXT_LENGTH, dtype=torch.long)
        rows_NT[:, 0], rows_NT[:, ids_NX.shape[1] + 1] = self.sot_token_id, self.eot_token_id
        rows_NT[:, 1 : ids_NX.shape[1] + 1] = torch.from_numpy(ids_NX)
        return rows_NT


@lru_cache(maxsize=2)  # images and text share one model
def load_default_clip(encoder_name: str, dtype: torch.dtype) -> tuple[CLIP, SmallTokenizer]:
    """Return the tiny CLIP and its tokenizer. Images are squashed to 64 × 64 pixels."""
    model = init_clip()
    if encoder_name == DEFAULT:
        load_floating_point_state(model, CLIP_FILE)
    return model.to(dtype), SmallTokenizer()


@lru_cache(maxsize=1)
def load_default_clap(
    encoder_name: str, dtype: torch.dtype
) -> tuple[ClapAudioModelWithProjection, ClapFeatureExtractor]:
    """Return the tiny audio model and its feature extractor."""
    model: Any = init_clap()
    if encoder_name == DEFAULT:
        load_floating_point_state(model, CLAP_FILE)
    return model.to(dtype), ClapFeatureExtractor(**FEATURE_EXTRACTOR_CONFIG)


def default_dtype(precision: Precision) -> torch.dtype:
    """Return bf16 only if `precision` is bf16, else fp32.

    So small a model gains nothing from bf16, and in fp32 it is the same on every machine.
    """
    return torch.bfloat16 if precision == "bf16" else torch.float32


def init_clip() -> CLIP:
    """Return the tiny CLIP with its seeded initialisation."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = CLIP(EMBEDDING_WIDTH, VISION_CONFIG, TEXT_CONFIG)
    set_model_preprocess_cfg(model, vars(PreprocessCfg(size=VISION_CONFIG.image_size, resize_mode="squash")))
    return model


def init_clap() -> ClapAudioModelWithProjection:
    """Return the tiny audio model with its seeded initialisation."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = ClapAudioModelWithProjection(ClapAudioConfig(**AUDIO_CONFIG))
    mean, deviation = MEL_MEAN_AND_STD
    norm = model.audio_model.audio_encoder.batch_norm  # without these statistics loudness hides the content
    levels = {
        "running_mean": torch.full((MEL_BANDS,), mean),
        "running_var": torch.full((MEL_BANDS,), deviation**2),
    }
    norm.load_state_dict(levels, strict=False)
    return model


def floating_point_state(model: nn.Module) -> dict[str, Tensor]:
    """Return what is stored of a model: its floating-point tensors in fp16.

    The other tensors follow from the architecture.
    """
    return {
        name: tensor.half().contiguous()
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
    }


def load_floating_point_state(model: nn.Module, file_name: str, folder: Path = WEIGHTS_FOLDER) -> None:
    """Load the tensors of a file that holds a `floating_point_state`.

    Raises:
        RuntimeError: A tensor is missing or unknown.
    """
    tensors = load_file(folder / file_name)
    non_floating = {name: t for name, t in model.state_dict().items() if not t.is_floating_point()}
    model.load_state_dict(non_floating | tensors)
