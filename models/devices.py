"""Moving inputs to a device, and what the device supports."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

BF16_CPU_CAPABILITIES = ("avx512_bf16", "amx_bf16", "sve_bf16")  # as torch names them


def to_device(value: Any, device: torch.device) -> Any:
    """Return the value with every tensor on the device, also inside dicts and (frozen) dataclasses."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: to_device(item, device) for name, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: to_device(getattr(value, f.name), device) for f in fields(value)})
    return value


def efficient_attention(device: torch.device) -> AbstractContextManager[None]:
    """Make a GPU use its memory-efficient attention kernel inside this context.

    It is the fastest for sequences this short (docs/experiments/2026-11-27-gpu-attention-kernels.md).
    """
    if device.type != "cuda":
        return nullcontext()
    return sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])


def default_device(device: torch.device) -> AbstractContextManager[Any]:
    """Create new tensors on this device inside this context.

    The CPU is the default of torch. Setting it again would cost 5 % of a training, because torch then
    intercepts each call.
    """
    return nullcontext() if device.type == "cpu" else device


def supports_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for matrix products in bf16.

    Without them, bf16 is slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in BF16_CPU_CAPABILITIES)
