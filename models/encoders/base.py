"""What every encoder has: unit vectors, a fingerprint, a device and a precision. D is the encoder's width."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pickle import UnpicklingError
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import SafetensorError
from torch import Tensor, nn

from models.devices import supports_bf16

Precision = Literal["auto", "fp32", "bf16"]

LOAD_ERRORS = (OSError, RuntimeError, ValueError, KeyError, SafetensorError, UnpicklingError)
OFFLINE_HINT = "; without the internet, name a local file or folder"


class Encoder(ABC):
    """Turns a batch of inputs of one modality into unit vectors.

    Attributes:
        name: Name of the architecture.
        width: D.
        preprocessing: Everything that is done to an input before the model. It is part of the fingerprint.
    """

    name: str
    width: int
    preprocessing: Mapping[str, Any]

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.weights_sha256 = hash_weights(model)
        self.model: Any = model.eval().to(device)  # Any, because each architecture has its own methods
        self.device = device
        self.dtype = next(model.parameters()).dtype

    def to(self, device: torch.device) -> "Encoder":
        """Move the encoder to another device and return it."""
        self.model, self.device = self.model.to(device), device
        return self

    def fingerprint(self, sampling: Mapping[str, Any]) -> str:
        """Return 16 hex digits over architecture, weights, precision, preprocessing and sampling.

        Args:
            sampling: How inputs are sampled from media.
        """
        parts = [self.name, self.weights_sha256, str(self.dtype), dict(self.preprocessing), dict(sampling)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @torch.inference_mode()
    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Return unit vectors [B, D] float32 of a non-empty batch. They are normalised in fp32."""
        vectors_BD = F.normalize(self.forward(batch).float(), dim=-1)
        return vectors_BD.cpu().numpy()

    @abstractmethod
    def forward(self, batch: Sequence[Any]) -> Tensor:
        """Return the model's vectors [B, D], of any length."""


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


def first_error_line(error: Exception) -> str:
    """Return the first line of a library's error message."""
    return str(error).strip().split("\n")[0] or type(error).__name__
