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


def divide(rows: Tensor) -> Tensor:
    """This process's rows of a batch; shares differ by one at most, and some are empty in a small batch."""
    return rows[rank() :: count()]


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
    """Give every process the gradient of the sum of all their losses, in one message.

    A parameter that no process has a gradient for keeps none.
    """
    if count() == 1:
        return
    mine = list(parameters)
    used = total(torch.tensor([float(p.grad is not None) for p in mine])).tolist()
    learning = [p for p, n in zip(mine, used, strict=True) if n]
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
    flat = total(torch.cat([grad.flatten() for grad in grads]))
    for p, part in zip(learning, flat.split([p.numel() for p in learning]), strict=True):
        p.grad = part.view_as(p)


def part_ways() -> None:
    """From here on each process draws its own random numbers; the first goes on with the shared ones."""
    if rank():
        torch.manual_seed(torch.initial_seed() + (rank() << 48))  # far from the seeds of other steps


def agreed(value: float) -> float:
    """What the first process has found, so that all decide alike."""
    if count() == 1:
        return value
    told = torch.tensor(value, dtype=torch.float64)
    distributed.broadcast(told, 0)
    return float(told)


def wait() -> None:
    """Go on when all processes are here."""
    if count() > 1:
        distributed.barrier()
