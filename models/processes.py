"""Processes that share a batch: torchrun starts them, gloo connects them. Alone, all here is the identity.

Legend: N rows of this process, C rows of all processes, in the order of their ranks.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather


@contextmanager
def joined() -> Iterator[None]:
    """Meet the other processes for the time of the block, where torchrun started several."""
    if not distributed.is_torchelastic_launched():
        yield
        return
    distributed.init_process_group("gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def count() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def share(rows: Tensor) -> Tensor:
    """This process's rows of a batch. Shares are of one length: what does not divide is filled up with −1."""
    missing = -len(rows) % count()
    return torch.nn.functional.pad(rows, (0, missing), value=-1)[rank() :: count()]


def gathered(x_N: Tensor) -> Tensor:
    """The rows of all processes; the gradient of every process's loss flows back to the rows' owner."""
    return torch.cat(all_gather(x_N)) if count() > 1 else x_N


def total(x: Tensor) -> Tensor:
    """The sum over all processes, without a gradient."""
    x = x.detach().clone()
    if count() > 1:
        distributed.all_reduce(x)
    return x


def add_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Give every process the gradient of the sum of all their losses; a parameter without one is skipped."""
    for parameter in parameters:
        if parameter.grad is not None and count() > 1:
            distributed.all_reduce(parameter.grad)


def wait() -> None:
    """Go on when all processes are here."""
    if count() > 1:
        distributed.barrier()
