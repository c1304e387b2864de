"""Descriptions of images by BLIP (transformers), from a folder.

Li et al. 2022, "BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language Understanding and
Generation".
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoTokenizer, BlipForConditionalGeneration

from models.encoders.base import (
    LOCAL,
    PretrainedReader,
    describe_architecture,
    hash_tokenizer,
    load_weights,
    loading,
)

BLIP_PREFIX = "blip:"
MAX_TOKENS = 40  # of a description; BLIP writes one sentence


class BlipReader(PretrainedReader):
    """Describes RGB images [height, width, 3] uint8 of any size. Decoding is greedy."""

    def __init__(
        self, model: BlipForConditionalGeneration, processor: Any, tokenizer: Any, device: torch.device
    ) -> None:
        super().__init__(model, device)
        self.name = f"blip {describe_architecture(model.config)}"
        self._processor, self._tokenizer = processor, tokenizer
        self.preprocessing = {
            "images": describe_architecture(processor),
            "tokenizer": hash_tokenizer(tokenizer),
            "tokens": MAX_TOKENS,
        }

    def forward(self, batch: Sequence[np.ndarray]) -> list[str]:
        pixels = self._processor(list(batch), return_tensors="pt")["pixel_values"]
        ids_BT = self.model.generate(
            pixels.to(self.device, self.dtype), do_sample=False, num_beams=1, max_new_tokens=MAX_TOKENS
        )
        return self._tokenizer.batch_decode(ids_BT, skip_special_tokens=True)


def build_blip_reader(encoder_name: str, dtype: torch.dtype, device: torch.device) -> BlipReader:
    """Build the reader of `blip:<folder>`.

    Raises:
        ValueError: The model cannot be loaded, or it is not a BLIP that writes descriptions.
    """
    folder = encoder_name.removeprefix(BLIP_PREFIX)
    model = load_weights(BlipForConditionalGeneration, encoder_name, folder, dtype, **LOCAL)
    with loading(encoder_name):
        processor = AutoImageProcessor.from_pretrained(folder, **LOCAL)
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    return BlipReader(model, processor, tokenizer, device)
