"""Image and text encoders of open_clip: a known model with weights, a folder, or the hub."""

import difflib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from models.encoders.base import Encoder, loading

OPEN_CLIP_PREFIX = "open_clip:"
HUB_SCHEMES = ("hf-hub:", "local-dir:")  # open_clip's own ways to name a model with its weights

Tokenizer = Callable[[list[str]], Tensor]


@dataclass(frozen=True)
class ImageConfig:
    """How images are prepared for a model.

    Attributes:
        size: Side of the square images, in pixels.
        resize_mode: As in `media.clip.SamplingConfig`.
        mean, std: The colours that become 0, and the deviation that becomes 1, of 1.
    """

    size: int
    resize_mode: Literal["shortest", "squash"]
    mean: Sequence[float]
    std: Sequence[float]


class ImageEncoder(Encoder):
    """Encodes RGB images [image_size, image_size, 3] uint8, already resized by `resize_mode`."""

    def __init__(self, name: str, model: nn.Module, config: ImageConfig, device: torch.device) -> None:
        super().__init__(model, device)
        self.name = name
        self.image_size, self.resize_mode = config.size, config.resize_mode
        mean, std = list(config.mean), list(config.std)
        self.preprocessing = {"size": self.image_size, "fit": self.resize_mode, "mean": mean, "std": std}
        self._mean, self._std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
        self.width = self.encode([np.zeros((self.image_size, self.image_size, 3), np.uint8)]).shape[1]

    def forward(self, batch: Sequence[np.ndarray]) -> Tensor:
        x_BXX3 = torch.from_numpy(np.stack(batch)).to(self.device)
        mean, std = self._mean.to(self.device), self._std.to(self.device)
        x_B3XX = (x_BXX3.permute(0, 3, 1, 2).float() / 255 - mean) / std
        return self.encode_pixels(x_B3XX.to(self.dtype))

    @abstractmethod
    def encode_pixels(self, x_B3XX: Tensor) -> Tensor:
        """Return the model's vectors [B, D] of normalised images."""


class ClipImageEncoder(ImageEncoder):
    """The image half of a CLIP."""

    def __init__(self, name: str, model: nn.Module, device: torch.device) -> None:
        config: dict[str, Any] = vars(model.visual)["preprocess_cfg"]
        if config["resize_mode"] not in ("shortest", "squash"):
            raise ValueError(
                f"{name} resizes images by {config['resize_mode']!r}, which is not supported; "
                "choose a model that resizes by shortest or squash"
            )
        size = config["size"] if isinstance(config["size"], int) else config["size"][0]
        images = ImageConfig(size, config["resize_mode"], config["mean"], config["std"])
        super().__init__(name, model, images, device)

    def encode_pixels(self, x_B3XX: Tensor) -> Tensor:
        return self.model.encode_image(x_B3XX)


class TextEncoder(Encoder):
    """Encodes strings. Text beyond the model's context is cut off."""


class ClipTextEncoder(TextEncoder):
    """The text half of a CLIP."""

    def __init__(self, name: str, model: nn.Module, tokenizer: Tokenizer, device: torch.device) -> None:
        super().__init__(model, device)
        self.name = name
        self._tokenizer = tokenizer
        self.preprocessing = {"context": int(tokenizer(["a"]).shape[1])}
        self.width = self.encode(["a"]).shape[1]

    def forward(self, batch: Sequence[str]) -> Tensor:
        return self.model.encode_text(self._tokenizer(list(batch)).to(self.device))


@lru_cache(maxsize=2)  # images and text mostly share one model
def load_open_clip(encoder_name: str, dtype: torch.dtype) -> tuple[str, nn.Module, Tokenizer]:
    """Load architecture, model and tokenizer of `open_clip:<model>:<pretrained tag or file>`.

    Raises:
        ValueError: open_clip does not know the model, or the weights cannot be loaded.
    """
    model, weights = _split_model_name(encoder_name.removeprefix(OPEN_CLIP_PREFIX))
    with loading(encoder_name):
        loaded = open_clip.create_model(model, weights, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(model)
    return ("open_clip" if weights is None else f"open_clip {model}", loaded.to(dtype), tokenizer)


def _split_model_name(name: str) -> tuple[str, str | None]:
    """Split `<model>:<tag or file>`, and check that open_clip knows both or the file exists."""
    if name.startswith(HUB_SCHEMES):
        return name, None
    model, _, weights = name.partition(":")
    if model not in open_clip.list_models():
        raise ValueError(
            f"open_clip knows no model {model!r}{_suggest_names(model, open_clip.list_models())}"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if weights not in tags and not Path(weights).is_file():
        raise ValueError(
            f"{weights!r} is neither a file nor a pretrained tag of {model}{_suggest_names(weights, tags)}"
        )
    return model, weights


def _suggest_names(name: str, known: Sequence[str]) -> str:
    """Return the end of an error message that names similar values."""
    close = difflib.get_close_matches(name, known)
    return f"; did you mean {', '.join(close)}?" if close else f"; known: {', '.join(known[:5]) or 'none'}"
