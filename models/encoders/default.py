"""The embedded default: a tiny CLIP and the sound half of a tiny CLAP in one space, which need no download.

Their weights lie in models/weights, made by `python -m tasks.pretrain`; card.json there says from what.
`untrained` is the seeded initialisation that training started from, to compare with.
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
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
CLIP_FILE, CLAP_FILE = "clip.safetensors", "clap.safetensors"

SEED = 20260301
WIDTH = 64  # D of all three
CONTEXT = 64  # tokens of a text
VOCABULARY = (
    16_384  # tokens: a third of CLIP's, so that their table is 2 MB and most of it is met in training
)

BYTES = 512  # of them, the single bytes: within a word and at its end

VISION = CLIPVisionCfg(layers=3, width=96, head_width=32, patch_size=8, image_size=64)
TEXT = CLIPTextCfg(context_length=CONTEXT, vocab_size=VOCABULARY, width=64, heads=2, layers=2)
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


class SmallTokenizer(SimpleTokenizer):
    """open_clip's tokenizer with the most frequent merges only: a rare word is told by its common parts."""

    encoder: dict[str, int]
    decoder: dict[int, str]
    bpe_ranks: dict[tuple[str, str], int]
    sot_token_id: int
    eot_token_id: int

    def __init__(self) -> None:
        super().__init__(context_length=CONTEXT)
        specials = self.decoder[self.sot_token_id], self.decoder[self.eot_token_id]
        single = VOCABULARY - len(specials)
        self.words = (BYTES, single)  # ids of what was merged
        self.bpe_ranks = {pair: rank for pair, rank in self.bpe_ranks.items() if rank < single - BYTES}
        self.encoder = {token: number for token, number in self.encoder.items() if number < single}
        self.encoder |= {token: single + i for i, token in enumerate(specials)}
        self.decoder = {number: token for token, number in self.encoder.items()}
        self.vocab_size = VOCABULARY
        self.all_special_ids = [self.encoder[token] for token in specials]
        self.sot_token_id, self.eot_token_id = self.all_special_ids

    def rows(self, ids_KW: np.ndarray) -> Tensor:
        """What the model reads of K texts of W tokens each [K, CONTEXT]."""
        rows_KT = torch.zeros(len(ids_KW), CONTEXT, dtype=torch.long)
        rows_KT[:, 0], rows_KT[:, ids_KW.shape[1] + 1] = self.sot_token_id, self.eot_token_id
        rows_KT[:, 1 : ids_KW.shape[1] + 1] = torch.from_numpy(ids_KW)
        return rows_KT


@lru_cache(maxsize=2)  # pictures and text share one model
def default_clip(spec: str, dtype: torch.dtype) -> tuple[CLIP, SmallTokenizer]:
    """The tiny CLIP (64-pixel pictures, squashed to a square) and its tokenizer."""
    model = untrained_clip()
    if spec == DEFAULT:
        load(model, CLIP_FILE)
    return model.to(dtype), SmallTokenizer()


@lru_cache(maxsize=1)
def default_clap(spec: str, dtype: torch.dtype) -> tuple[ClapAudioModelWithProjection, ClapFeatureExtractor]:
    """The tiny sound model and its feature extractor."""
    model: Any = untrained_clap()
    if spec == DEFAULT:
        load(model, CLAP_FILE)
    return model.to(dtype), ClapFeatureExtractor(**EXTRACTION)


def default_dtype(precision: Precision) -> torch.dtype:
    """fp32 unless bf16 is asked for: so small a model gains nothing, and is the same on every machine."""
    return torch.bfloat16 if precision == "bf16" else torch.float32


def untrained_clip() -> CLIP:
    """The tiny CLIP at its seeded initialisation."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = CLIP(WIDTH, VISION, TEXT)
    set_model_preprocess_cfg(model, vars(PreprocessCfg(size=VISION.image_size, resize_mode="squash")))
    return model


def untrained_clap() -> ClapAudioModelWithProjection:
    """The tiny sound model at its seeded initialisation."""
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
    return model


def stored(model: nn.Module) -> dict[str, Tensor]:
    """What is kept of a model: its floating-point tensors in fp16, the rest follows from the architecture."""
    return {
        name: tensor.half().contiguous()
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
    }


def load(model: nn.Module, file: str, folder: Path = WEIGHTS) -> None:
    """Give a model the tensors that `stored` kept in a file; one too many or too few is an error."""
    found = load_file(folder / file)
    fixed = {name: t for name, t in model.state_dict().items() if not t.is_floating_point()}
    model.load_state_dict(fixed | found)
