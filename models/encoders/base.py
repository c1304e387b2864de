"""What every encoder and reader has: a fingerprint, a device and a precision. D is an encoder's width."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import SafetensorError
from torch import Tensor, nn

from models.devices import supports_bf16

Precision = Literal["auto", "fp32", "bf16"]

LOAD_ERRORS = (OSError, RuntimeError, ValueError, KeyError, ImportError, SafetensorError, UnpicklingError)
LOCAL: dict[str, Any] = {"local_files_only": True}  # option of `from_pretrained`: nothing is downloaded
OFFLINE_HINT = "; without the internet, name a local file or folder"


class PretrainedModel(ABC):
    """A model with weights that reads a batch of inputs of one kind.

    Attributes:
        name: Name of the architecture.
        preprocessing: Everything that is done to an input before the model. It is part of the fingerprint.
    """

    name: str
    preprocessing: Mapping[str, Any]

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.weights_sha256 = hash_weights(model)
        self.model: Any = model.eval().to(device)  # Any, because each architecture has its own methods
        self.device = device
        self.dtype = next(model.parameters()).dtype

    def to(self, device: torch.device) -> Self:
        """Move the model to another device and return it."""
        self.model, self.device = self.model.to(device), device
        return self

    def fingerprint(self, sampling: Mapping[str, Any]) -> str:
        """Return 16 hex digits over architecture, weights, precision, preprocessing and sampling.

        Args:
            sampling: How inputs are sampled from media.
        """
        parts = [self.name, self.weights_sha256, str(self.dtype), dict(self.preprocessing), dict(sampling)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @abstractmethod
    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Return one row for each input of a non-empty batch."""


class Encoder(PretrainedModel):
    """Turns a batch of inputs of one modality into unit vectors.

    Attributes:
        width: D.
    """

    width: int

    @torch.inference_mode()
    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Return unit vectors [B, D] float32 of a non-empty batch. They are normalised in fp32."""
        vectors_BD = F.normalize(self.forward(batch).float(), dim=-1)
        return vectors_BD.cpu().numpy()

    @abstractmethod
    def forward(self, batch: Sequence[Any]) -> Tensor:
        """Return the model's vectors [B, D], of any length."""


class PretrainedReader(PretrainedModel):
    """Turns a batch of inputs into text."""

    @torch.inference_mode()
    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Return the texts [B] of a non-empty batch, as str objects. A text may be empty."""
        return np.array(self.forward(batch), object)

    @abstractmethod
    def forward(self, batch: Sequence[Any]) -> list[str]:
        """Return one text for each input."""


def hash_weights(model: nn.Module) -> str:
    """Return the sha256 of the names, shapes and values of a model's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def select_devices(name: Literal["auto", "cpu", "cuda"]) -> list[torch.device]:
    """Return the devices that `embed.device` names. `auto` is every GPU that torch sees, or the CPU.

    Raises:
        ValueError: The name is `cuda`, and torch sees no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch sees no GPU; write auto or cpu")
    num_gpus = 0 if name == "cpu" else torch.cuda.device_count()
    return [torch.device("cuda", number) for number in range(num_gpus)] or [torch.device("cpu")]


def select_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type of the weights. `auto` is bf16 if the device computes with it, else fp32.

    Autocast is not used, because it gains nothing on CPUs. torch's kernels sum norms and softmax of bf16
    tensors in fp32.
    """
    if precision == "auto":
        return torch.bfloat16 if supports_bf16(device) else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


@contextmanager
def loading(encoder_name: str, hint: str = OFFLINE_HINT) -> Iterator[None]:
    """Turn a library's error in the `with` block into one sentence.

    Args:
        encoder_name: The value of params.yaml.
        hint: The end of the sentence.

    Raises:
        ValueError: The library cannot load the model.
    """
    try:
        yield
    except LOAD_ERRORS as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f"{encoder_name}: the model cannot be loaded ({reason}){hint}") from None


def load_weights(model_class: Any, encoder_name: str, folder: str, dtype: torch.dtype, **options: Any) -> Any:
    """Load a model of transformers and check that it is complete. Gaps would be filled with random numbers.

    Args:
        model_class: The class of the model.
        encoder_name: The value of params.yaml, for error messages.
        folder: The folder, or a name in the local cache of the hub.
        dtype: The type of the weights.
        options: Further options of `from_pretrained`.

    Raises:
        ValueError: The model cannot be loaded, or weights are missing.
    """
    with loading(encoder_name):
        model, info = model_class.from_pretrained(folder, dtype=dtype, output_loading_info=True, **options)
    if info["missing_keys"]:
        raise ValueError(
            f"{encoder_name}: the model lacks the weights {sorted(info['missing_keys'])[0]}; "
            f"name the folder of a {model_class.__name__.lstrip('_')}"
        )
    return model


def describe_architecture(config: Any) -> str:
    """Return the settings of a model of transformers as JSON, without what depends on the installation."""
    return json.dumps(_without_installation(config.to_dict()), sort_keys=True, default=str)


def _without_installation(settings: Any) -> Any:
    if not isinstance(settings, dict):
        return settings
    left_out = ("transformers_version", "_name_or_path", "dtype", "torch_dtype")
    return {name: _without_installation(value) for name, value in settings.items() if name not in left_out}


def hash_tokenizer(tokenizer: Any) -> str:
    """Return the sha256 of a tokenizer's vocabulary and rules."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()
