"""What every encoder has in common: unit vectors, a fingerprint, a precision. Shapes: B batch, D width."""

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

from models.devices import multiplies_bf16

Precision = Literal["auto", "fp32", "bf16"]

LOAD_ERRORS = (OSError, RuntimeError, ValueError, KeyError, SafetensorError, UnpicklingError)
OFFLINE = "; without the internet, name a local file or folder"


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
        self.dtype = next(model.parameters()).dtype

    def to(self, device: torch.device) -> "Encoder":
        """Itself, on another device."""
        self.model, self.device = self.model.to(device), device
        return self

    def fingerprint(self, sampling: Mapping[str, Any]) -> str:
        """16 hex digits over architecture, weights, precision, preprocessing and the sampling of media."""
        parts = [self.name, self.weights, str(self.dtype), dict(self.preprocessing), dict(sampling)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @torch.inference_mode()
    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Unit vectors [B, D] float32 of a non-empty batch; their length is taken in fp32."""
        vectors_BD = F.normalize(self.forward(batch).float(), dim=-1)
        return vectors_BD.cpu().numpy()

    @abstractmethod
    def forward(self, batch: Sequence[Any]) -> Tensor:
        """The model's vectors [B, D] of a batch, of any length."""


def weights_digest(model: nn.Module) -> str:
    """sha256 over the names, shapes and values of a model's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def pick_devices(name: Literal["auto", "cpu", "cuda"]) -> list[torch.device]:
    """The devices that `embed.device` names; `auto` is every GPU that torch sees, or the CPU.

    Raises:
        ValueError: `cuda` where torch sees none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch sees no GPU; write auto or cpu")
    gpus = 0 if name == "cpu" else torch.cuda.device_count()
    return [torch.device("cuda", number) for number in range(gpus)] or [torch.device("cpu")]


def pick_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """What the weights are kept in; `auto` is bf16 where the device computes with it, else fp32.

    The weights themselves, not autocast, which gains nothing on CPUs. Norms and softmax of bf16 tensors add
    up in fp32 inside torch's kernels.
    """
    if precision == "auto":
        return torch.bfloat16 if multiplies_bf16(device) else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


def first_line(error: Exception) -> str:
    """What a library said, without the lines below it."""
    return str(error).strip().split("\n")[0] or type(error).__name__
