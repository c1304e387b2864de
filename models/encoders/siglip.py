"""Image and text encoders of SigLIP and SigLIP 2 (transformers), from a folder.

Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training". Checkpoints with a fixed image size only.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer, SiglipModel

from models.encoders.base import LOCAL, describe_architecture, hash_tokenizer, load_weights, loading
from models.encoders.clip import ImageConfig, ImageEncoder, TextEncoder

SIGLIP_PREFIX = "siglip:"


class SiglipImageEncoder(ImageEncoder):
    """The image half of a SigLIP."""

    def __init__(self, model: Any, processor: Any, device: torch.device) -> None:
        size = model.config.vision_config.image_size
        config = ImageConfig(size, "squash", processor.image_mean, processor.image_std)
        super().__init__(f"siglip {describe_architecture(model.config)}", model, config, device)

    def encode_pixels(self, x_B3XX: Tensor) -> Tensor:
        return self.model.get_image_features(x_B3XX).pooler_output


class SiglipTextEncoder(TextEncoder):
    """The text half of a SigLIP, which was trained with text in lower case, padded to its full length."""

    def __init__(self, model: Any, tokenizer: Any, device: torch.device) -> None:
        super().__init__(model, device)
        self.name = f"siglip {describe_architecture(model.config)}"
        self._tokenizer, self._length = tokenizer, model.config.text_config.max_position_embeddings
        self.preprocessing = {"context": self._length, "tokenizer": hash_tokenizer(tokenizer)}
        self.width = self.encode(["a"]).shape[1]

    def forward(self, batch: Sequence[str]) -> Tensor:
        texts = [text.lower() for text in batch]
        settings = {"padding": "max_length", "truncation": True, "max_length": self._length}
        ids_BT = self._tokenizer(texts, return_tensors="pt", **settings)["input_ids"]
        return self.model.get_text_features(ids_BT.to(self.device)).pooler_output


def build_siglip_image_encoder(
    encoder_name: str, dtype: torch.dtype, device: torch.device
) -> SiglipImageEncoder:
    """Build the image encoder of `siglip:<folder>`.

    Raises:
        ValueError: The model cannot be loaded, or it is not a SigLIP.
    """
    model, folder = load_siglip(encoder_name, dtype), encoder_name.removeprefix(SIGLIP_PREFIX)
    with loading(encoder_name):
        processor = AutoImageProcessor.from_pretrained(folder, **LOCAL)
    return SiglipImageEncoder(model, processor, device)


def build_siglip_text_encoder(
    encoder_name: str, dtype: torch.dtype, device: torch.device
) -> SiglipTextEncoder:
    """Build the text encoder of `siglip:<folder>`.

    Raises:
        ValueError: As for `build_siglip_image_encoder`.
    """
    model, folder = load_siglip(encoder_name, dtype), encoder_name.removeprefix(SIGLIP_PREFIX)
    with loading(encoder_name):
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    return SiglipTextEncoder(model, tokenizer, device)


@lru_cache(maxsize=2)  # images and text mostly share one model
def load_siglip(encoder_name: str, dtype: torch.dtype) -> SiglipModel:
    """Load the model of `siglip:<folder>`.

    Raises:
        ValueError: As for `build_siglip_image_encoder`.
    """
    return load_weights(SiglipModel, encoder_name, encoder_name.removeprefix(SIGLIP_PREFIX), dtype, **LOCAL)
