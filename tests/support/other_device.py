"""A fake GPU: its tensors lie in main memory with a mark, and calls fail where CUDA would fail.

For tests of GPU code without a GPU. It detects calls that mix tensors of both devices, a generator of the
other device, and `numpy` of a tensor on the GPU. It does not detect what autograd does by itself.
"""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda", 0)
MAY_MIX = ("Tensor.copy_", "Tensor.data.__set__", "_has_compatible_shallow_copy_type")
ON_CPU, ON_GPU = "cpu", "gpu"


class OtherDevice(TorchFunctionMode):
    """While it is entered, `cuda` is a device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = (resolve_name(func) or func.__name__).removeprefix("torch."), dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name == "Tensor.device.__get__" and _fake_device(args[0]) == ON_GPU:
            return GPU
        target_device, args, kwargs = _target_device(name, args, kwargs)
        if name not in MAY_MIX and target_device is None:
            _refuse_mixed_devices(name, args, tensors)
        if name == "Tensor.numpy" and _fake_device(args[0]) == ON_GPU:
            raise TypeError("numpy of a tensor that lies on the GPU")
        generator = kwargs.get("generator")
        if target_device == ON_GPU and generator is not None:
            raise RuntimeError(f"{name}: Expected a 'cuda' device type for generator but found 'cpu'")
        result = func(*args, **kwargs)
        if target_device is not None and tensors and result is tensors[0]:
            result = result.view_as(result)  # a copy has a mark of its own
        if name == "Tensor.data.__set__":
            _mark(args[0], _fake_device(args[1]))
        devices = {_fake_device(tensor) for tensor in tensors if tensor.dim()} or {
            _fake_device(t) for t in tensors
        }
        device = target_device or (ON_GPU if ON_GPU in devices else ON_CPU if devices <= {ON_CPU} else None)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                _mark(leaf, device)
        return result


def _target_device(name: str, args: Any, kwargs: dict[str, Any]) -> tuple[str | None, Any, dict[str, Any]]:
    """The device that a call asks for (None: that of its tensors), and the call without it."""
    if name == "Tensor.cpu":
        return ON_CPU, args, kwargs
    requested = kwargs.pop("device", None)
    if name == "Tensor.to" and len(args) > 1 and isinstance(args[1], str | torch.device):
        requested, args = args[1], (args[0], "cpu", *args[2:])
    if requested is None:
        return None, args, kwargs
    return ON_GPU if torch.device(requested).type == "cuda" else ON_CPU, args, kwargs


def _refuse_mixed_devices(name: str, args: Any, tensors: list[Tensor]) -> None:
    devices = [_fake_device(tensor) for tensor in tensors if tensor.dim()]
    is_indexing = name in ("Tensor.__getitem__", "Tensor.__setitem__") and _fake_device(args[0]) == ON_GPU
    if ON_CPU in devices and ON_GPU in devices and not is_indexing:
        raise RuntimeError(f"{name}: Expected all tensors to be on the same device")


def _fake_device(tensor: Tensor) -> str | None:
    return getattr(tensor, "fake_device", None)


def _mark(tensor: Tensor, device: str | None) -> None:
    tensor.fake_device = device  # type: ignore[attr-defined]
