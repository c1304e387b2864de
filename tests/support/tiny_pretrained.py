"""Tiny models of transformers with random weights and tokenizers, saved as folders."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipTextConfig,
    BlipVisionConfig,
    GenerationConfig,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

WORDS = [
    "a",
    "the",
    "cat",
    "dog",
    "sleeps",
    "runs",
    "on",
    "sofa",
    "red",
    "blue",
    "sky",
    "my",
    "best",
    "new",
    "day",
]
SPECIAL = ["[PAD]", "[BOS]", "[EOS]", "[UNK]"]
VOCABULARY = [*SPECIAL, *WORDS]
TINY: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
IMAGES: dict[str, Any] = {"image_size": 32, "patch_size": 16}


def tiny_siglip(folder: Path, seed: int = 3) -> Path:
    """A SigLIP of 32 × 32 pixels, with a tokenizer of WORDS."""
    torch.manual_seed(seed)
    text = TINY | {"vocab_size": len(VOCABULARY), "max_position_embeddings": 8, "projection_size": 16}
    SiglipModel(SiglipConfig(text_config=text, vision_config=TINY | IMAGES)).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    _word_tokenizer().save_pretrained(folder)
    return folder


def tiny_blip(folder: Path, seed: int = 3) -> Path:
    """A BLIP that writes WORDS."""
    torch.manual_seed(seed)
    special = {"bos_token_id": 1, "eos_token_id": 2, "sep_token_id": 2, "pad_token_id": 0}
    text = BlipTextConfig(
        **TINY, vocab_size=len(VOCABULARY), max_position_embeddings=64, encoder_hidden_size=16, **special
    )
    vision = BlipVisionConfig(**TINY, **IMAGES)
    config = BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    model = BlipForConditionalGeneration(config)
    with torch.no_grad():  # random weights write one word again and again; larger ones differ by image
        for parameter in model.parameters():
            parameter.mul_(8)
    model.save_pretrained(folder)
    BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    _word_tokenizer().save_pretrained(folder)
    return folder


def tiny_whisper(folder: Path, seed: int = 3) -> Path:
    """An English Whisper of windows of 2 s, with a tokenizer of bytes. Its ids are in Whisper's order."""
    torch.manual_seed(seed)
    alphabet = {letter: n for n, letter in enumerate(sorted(ByteLevel.alphabet()))}
    end, start, no_speech, no_timestamps = range(256, 260)
    special = ("<|endoftext|>", "<|startoftranscript|>", "<|nospeech|>", "<|notimestamps|>")
    config = WhisperConfig(
        vocab_size=260, num_mel_bins=80, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        max_source_positions=100, max_target_positions=448, pad_token_id=end, bos_token_id=end,
        eos_token_id=end, decoder_start_token_id=start, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=start,
        begin_suppress_tokens=[no_speech, no_timestamps, start], no_timestamps_token_id=no_timestamps,
        is_multilingual=False,
    )  # fmt: skip
    model.save_pretrained(folder)
    WhisperFeatureExtractor(chunk_length=2).save_pretrained(folder)
    tokenizer = WhisperTokenizer(vocab=alphabet, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer.save_pretrained(folder)
    return folder


def _word_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", bos_token="[BOS]", eos_token="[EOS]", unk_token="[UNK]"
    )
