"""Pictures and text by open_clip: a known model with weights, a folder, or the hub. S: side of a picture."""

import difflib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from models.encoders.base import LOAD_ERRORS, OFFLINE, Encoder, first_line

OPEN_CLIP = "open_clip:"
SCHEMES = ("hf-hub:", "local-dir:")  # open_clip's own ways to name a model with its weights

Tokenizer = Callable[[list[str]], Tensor]


class ImageEncoder(Encoder):
    """Encodes RGB pictures [image_size, image_size, 3] uint8, which were made to fit by `image_fit`."""

    def __init__(self, name: str, model: nn.Module, device: torch.device) -> None:
        super().__init__(model, device)
        config: dict[str, Any] = vars(model.visual)["preprocess_cfg"]
        if config["resize_mode"] not in ("shortest", "squash"):
            raise ValueError(f"{name} resizes pictures by {config['resize_mode']!r}, which is not supported")
        side = config["size"]
        self.name = name
        self.image_size: int = side if isinstance(side, int) else side[0]
        self.image_fit: Literal["shortest", "squash"] = config["resize_mode"]
        mean, std = list(config["mean"]), list(config["std"])
        self.preprocessing = {"size": self.image_size, "fit": self.image_fit, "mean": mean, "std": std}
        self._mean, self._std = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
        self.width = self.encode([np.zeros((self.image_size, self.image_size, 3), np.uint8)]).shape[1]

    def forward(self, batch: Sequence[np.ndarray]) -> Tensor:
        x_BSS3 = torch.from_numpy(np.stack(batch)).to(self.device)
        mean, std = self._mean.to(self.device), self._std.to(self.device)
        x_B3SS = (x_BSS3.permute(0, 3, 1, 2).float() / 255 - mean) / std
        return self.model.encode_image(x_B3SS.to(self.dtype))


class TextEncoder(Encoder):
    """Encodes strings; what is beyond the model's context is left out."""


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


@lru_cache(maxsize=2)  # pictures and text mostly share one model
def open_clip_model(spec: str, dtype: torch.dtype) -> tuple[str, nn.Module, Tokenizer]:
    """Architecture, model and tokenizer of `open_clip:<model>:<pretrained tag or file>`.

    Raises:
        ValueError: open_clip does not know it, or its weights cannot be had; one sentence.
    """
    model, weights = _checked(spec.removeprefix(OPEN_CLIP))
    try:
        loaded = open_clip.create_model(model, weights, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(model)
    except LOAD_ERRORS as error:
        raise ValueError(f"{spec}: the weights cannot be loaded ({first_line(error)}){OFFLINE}") from None
    return ("open_clip" if weights is None else f"open_clip {model}", loaded.to(dtype), tokenizer)


def _checked(name: str) -> tuple[str, str | None]:
    """`<model>:<tag or file>` in two, where open_clip knows the model and the tag, or the file is there."""
    if name.startswith(SCHEMES):
        return name, None
    model, _, weights = name.partition(":")
    if model not in open_clip.list_models():
        raise ValueError(f"open_clip knows no model {model!r}{_suggest(model, open_clip.list_models())}")
    tags = open_clip.list_pretrained_tags_by_model(model)
    if weights not in tags and not Path(weights).is_file():
        raise ValueError(f"{weights!r} is no file and no pretrained tag of {model}{_suggest(weights, tags)}")
    return model, weights


def _suggest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known)
    return f"; did you mean {', '.join(close)}?" if close else f"; it knows {', '.join(known[:5]) or 'none'}"
