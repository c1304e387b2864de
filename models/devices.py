"""Whole inputs onto a device, and what is best done there."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

FAST_BF16 = ("avx512_bf16", "amx_bf16", "sve_bf16")  # torch's names of what a CPU can


def moved(value: Any, device: torch.device) -> Any:
    """The same with every tensor on the device, also those inside mappings and (frozen) dataclasses."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: moved(one, device) for name, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: moved(getattr(value, f.name), device) for f in fields(value)})
    return value


def attention_on(device: torch.device) -> AbstractContextManager[None]:
    """Inside, a GPU attends with its memory-efficient kernel, whatever torch would choose.

    Of histories this short it is the fastest (docs/experiments.md, On a GPU).
    """
    if device.type != "cuda":
        return nullcontext()
    return sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH])


def multiplies_bf16(device: torch.device) -> bool:
    """Whether it has instructions for products in bf16; without, they take longer than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in FAST_BF16)
