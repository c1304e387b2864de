"""What torch computes in a `with` block: how many operations, and how large their results are."""

from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class TorchOperations(TorchDispatchMode):
    """Records the operations of torch.

    Attributes:
        count: Number of operations.
        largest: Number of elements of the largest result.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count, self.largest = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count += 1
        results = result if isinstance(result, tuple | list) else (result,)
        self.largest = max([self.largest, *(x.numel() for x in results if isinstance(x, Tensor))])
        return result
