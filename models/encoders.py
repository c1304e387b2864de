"""Encoders of pictures, text and sound: each gives unit vectors and knows its fingerprint.

Pictures and text: open_clip. Sound: CLAP of transformers. The embedded default is a tiny model of each kind
that needs no download. Shapes: B batch, S side of a picture, D width.
"""

import difflib
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import numpy as np
import open_clip
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoFeatureExtractor, ClapAudioModelWithProjection, ClapFeatureExtractor

from models.default_encoders import CLAP_NAME, CLIP_NAME, default_clap, default_clip

DEFAULT = "default"
OPEN_CLIP = "open_clip:"
CLAP = "clap:"
SCHEMES = ("hf-hub:", "local-dir:")  # open_clip's own ways to name a model with its weights
LOAD_ERRORS = (OSError, RuntimeError, ValueError, KeyError, SafetensorError, UnpicklingError)

OFFLINE = "; without the internet, name a local file or folder"

Tokenizer = Callable[[list[str]], Tensor]


class Encoder(ABC):
    """What turns a batch of one kind of thing into unit vectors.

    Attributes:
        name: the architecture's.
        width: D.
        preprocessing: everything that is done to an input before the model; part of the fingerprint.
    """

    name: str
    width: int
    preprocessing: Mapping[str, Any]

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.weights = weights_digest(model)
        self.model: Any = model.eval().to(device)  # each architecture has methods of its own
        self.device = device

    def fingerprint(self, sampling: Mapping[str, Any]) -> str:
        """16 hex digits over architecture, weights, preprocessing and how the media was sampled."""
        parts = [self.name, self.weights, dict(self.preprocessing), dict(sampling)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @torch.inference_mode()
    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Unit vectors [B, D] float32 of a non-empty batch."""
        vectors_BD = F.normalize(self._forward(batch).float(), dim=-1)
        return vectors_BD.cpu().numpy()

    @abstractmethod
    def _forward(self, batch: Sequence[Any]) -> Tensor:
        """The model's vectors [B, D] of a batch, of any length."""


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
        self._mean = torch.tensor(mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(std, device=device).view(3, 1, 1)
        self.width = self.encode([np.zeros((self.image_size, self.image_size, 3), np.uint8)]).shape[1]

    def _forward(self, batch: Sequence[np.ndarray]) -> Tensor:
        x_BSS3 = torch.from_numpy(np.stack(batch)).to(self.device)
        x_B3SS = x_BSS3.permute(0, 3, 1, 2).float() / 255
        return self.model.encode_image((x_B3SS - self._mean) / self._std)


class TextEncoder(Encoder):
    """Encodes strings; what is beyond the model's context is left out."""

    def __init__(self, name: str, model: nn.Module, tokenizer: Tokenizer, device: torch.device) -> None:
        super().__init__(model, device)
        self.name = name
        self._tokenizer = tokenizer
        self.preprocessing = {"context": int(tokenizer(["a"]).shape[1])}
        self.width = self.encode(["a"]).shape[1]

    def _forward(self, batch: Sequence[str]) -> Tensor:
        return self.model.encode_text(self._tokenizer(list(batch)).to(self.device))


class SoundEncoder(Encoder):
    """Encodes mono sound [samples] float32 at `sample_rate`; of a long one the middle that fits."""

    def __init__(
        self,
        name: str,
        model: ClapAudioModelWithProjection,
        extractor: ClapFeatureExtractor,
        device: torch.device,
    ) -> None:
        super().__init__(model, device)
        self.name = name
        self._extractor = extractor
        self.sample_rate: int = extractor.sampling_rate
        self.preprocessing = {
            key: value for key, value in extractor.to_dict().items() if isinstance(value, int | float | str)
        }
        self.width = self.encode([np.zeros(self.sample_rate, np.float32)]).shape[1]

    def _forward(self, batch: Sequence[np.ndarray]) -> Tensor:
        clips = [_middle(clip, self._extractor.nb_max_samples) for clip in batch]
        inputs = self._extractor(clips, sampling_rate=self.sample_rate, return_tensors="pt")
        # The extractor calls a random clip long when none is: vectors must not depend on chance.
        longer_B1 = torch.zeros(len(clips), 1, dtype=torch.bool, device=self.device)
        features = inputs["input_features"].float().to(self.device)
        return self.model(input_features=features, is_longer=longer_B1).audio_embeds


def image_encoder(spec: str, device: torch.device) -> ImageEncoder:
    """The encoder that `embed.visual` names.

    Raises:
        ValueError: nobody knows it, or its weights cannot be had; one sentence.
    """
    name, model, _ = _clip(spec)
    return ImageEncoder(name, model, device)


def text_encoder(spec: str, device: torch.device) -> TextEncoder:
    """The encoder that `embed.text` names.

    Raises:
        ValueError: as for `image_encoder`.
    """
    name, model, tokenizer = _clip(spec)
    return TextEncoder(name, model, tokenizer, device)


def sound_encoder(spec: str, device: torch.device) -> SoundEncoder:
    """The encoder that `embed.audio` names.

    Raises:
        ValueError: as for `image_encoder`.
    """
    if spec == DEFAULT:
        return SoundEncoder(CLAP_NAME, *default_clap(), device)
    if not spec.startswith(CLAP):
        raise ValueError(f"{spec!r} is no sound encoder; write default or clap:<hub name or folder>")
    return SoundEncoder("clap", *_pretrained_clap(spec.removeprefix(CLAP)), device)


def pick_device(name: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """The device that `embed.device` names; `auto` is the GPU when there is one.

    Raises:
        ValueError: `cuda` where torch sees none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch sees no GPU; write auto or cpu")
    cuda = name != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu")


def weights_digest(model: nn.Module) -> str:
    """sha256 over the names, shapes and values of a model's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


@lru_cache(maxsize=2)  # pictures and text mostly share one model
def _clip(spec: str) -> tuple[str, nn.Module, Tokenizer]:
    """Architecture, model and tokenizer of an open_clip spec."""
    if spec == DEFAULT:
        return (CLIP_NAME, *default_clip())
    if not spec.startswith(OPEN_CLIP):
        raise ValueError(
            f"{spec!r} is no encoder; write default or open_clip:<model>:<pretrained tag or file>"
        )
    model, weights = _checked(spec.removeprefix(OPEN_CLIP))
    try:
        loaded = open_clip.create_model(model, weights, require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(model)
    except LOAD_ERRORS as error:
        raise ValueError(f"{spec}: the weights cannot be loaded ({_first_line(error)}){OFFLINE}") from None
    return ("open_clip" if weights is None else f"open_clip {model}", loaded, tokenizer)


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


class _SoundHalf(ClapAudioModelWithProjection):
    """Of a whole CLAP the text half is left out on purpose, which is not worth a warning."""

    _keys_to_ignore_on_load_unexpected = [r"^text_", r"^logit_scale"]  # noqa: RUF012


@lru_cache(maxsize=1)
def _pretrained_clap(name: str) -> tuple[ClapAudioModelWithProjection, ClapFeatureExtractor]:
    """The sound half of a CLAP from the hub or a folder, and its feature extractor."""
    try:
        loaded: Any = _SoundHalf.from_pretrained(name, output_loading_info=True)
        extractor = AutoFeatureExtractor.from_pretrained(name)
    except LOAD_ERRORS as error:
        raise ValueError(f"clap:{name}: the model cannot be loaded ({_first_line(error)}){OFFLINE}") from None
    model, loading = loaded
    if loading["missing_keys"]:
        raise ValueError(f"clap:{name}: no CLAP, its weights lack {sorted(loading['missing_keys'])[0]}")
    return model, extractor


def _middle(samples: np.ndarray, length: int) -> np.ndarray:
    start = max(0, len(samples) - length) // 2
    return samples[start : start + length]


def _suggest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known)
    return f"; did you mean {', '.join(close)}?" if close else f"; it knows {', '.join(known[:5]) or 'none'}"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
