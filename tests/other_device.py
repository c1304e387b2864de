"""A GPU that is none: its tensors lie in main memory with a mark, and where CUDA would refuse, so does it.

For code that runs on GPUs and is tested without one. What is seen: a call that mixes tensors of both devices,
a generator of the other device, `numpy` of a tensor that is not here. Not seen: what autograd does by itself.
"""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves

GPU = torch.device("cuda", 0)
MAY_MIX = ("Tensor.copy_", "Tensor.data.__set__", "_has_compatible_shallow_copy_type")
HERE, THERE = "here", "there"


class OtherDevice(TorchFunctionMode):
    """While it is entered, `cuda` is a device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = (resolve_name(func) or func.__name__).removeprefix("torch."), dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name == "Tensor.device.__get__" and _place(args[0]) == THERE:
            return GPU
        wanted, args, kwargs = _wanted(name, args, kwargs)
        if name not in MAY_MIX and wanted is None:
            _refuse_mixture(name, args, tensors)
        if name == "Tensor.numpy" and _place(args[0]) == THERE:
            raise TypeError("numpy of a tensor that lies on the GPU")
        generator = kwargs.get("generator")
        if wanted == THERE and generator is not None:
            raise RuntimeError(f"{name}: Expected a 'cuda' device type for generator but found 'cpu'")
        found = func(*args, **kwargs)
        if wanted is not None and tensors and found is tensors[0]:
            found = found.view_as(found)  # a copy has a mark of its own
        if name == "Tensor.data.__set__":
            _mark(args[0], _place(args[1]))
        places = {_place(tensor) for tensor in tensors if tensor.dim()} or {_place(t) for t in tensors}
        place = wanted or (THERE if THERE in places else HERE if places <= {HERE} else None)
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                _mark(leaf, place)
        return found


def _wanted(name: str, args: Any, kwargs: dict[str, Any]) -> tuple[str | None, Any, dict[str, Any]]:
    """The device that a call asks for (None: that of its tensors), and the call without it."""
    if name == "Tensor.cpu":
        return HERE, args, kwargs
    asked = kwargs.pop("device", None)
    if name == "Tensor.to" and len(args) > 1 and isinstance(args[1], str | torch.device):
        asked, args = args[1], (args[0], "cpu", *args[2:])
    if asked is None:
        return None, args, kwargs
    return THERE if torch.device(asked).type == "cuda" else HERE, args, kwargs


def _refuse_mixture(name: str, args: Any, tensors: list[Tensor]) -> None:
    places = [_place(tensor) for tensor in tensors if tensor.dim()]
    picks = name in ("Tensor.__getitem__", "Tensor.__setitem__") and _place(args[0]) == THERE
    if HERE in places and THERE in places and not picks:
        raise RuntimeError(f"{name}: Expected all tensors to be on the same device")


def _place(tensor: Tensor) -> str | None:
    return getattr(tensor, "place", None)


def _mark(tensor: Tensor, place: str | None) -> None:
    tensor.place = place  # type: ignore[attr-defined]
