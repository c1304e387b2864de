"""Whole inputs onto a device."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor


def moved(value: Any, device: torch.device) -> Any:
    """The same with every tensor on the device, also those inside mappings and (frozen) dataclasses."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: moved(one, device) for name, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: moved(getattr(value, f.name), device) for f in fields(value)})
    return value
