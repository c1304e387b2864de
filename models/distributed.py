"""Processes that share a batch: torchrun starts them, gloo connects them.

With a single process every function here is the identity.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather


@contextmanager
def process_group() -> Iterator[None]:
    """Connect the processes inside this context, if torchrun started several."""
    if not distributed.is_torchelastic_launched():
        yield
        return
    distributed.init_process_group("gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def get_world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def get_rank() -> int:
    """Return the distributed rank of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def pad_and_shard(rows: Tensor) -> Tensor:
    """Return this process's rows of a batch. All shards have one length; missing rows are −1."""
    padding = -len(rows) % get_world_size()
    return torch.nn.functional.pad(rows, (0, padding), value=-1)[get_rank() :: get_world_size()]


def shard(rows: Tensor) -> Tensor:
    """Return this process's rows of a batch. Lengths differ by at most one, so a shard may be empty."""
    return rows[get_rank() :: get_world_size()]


def all_gather_rows(x_N: Tensor) -> Tensor:
    """Concatenate the rows of all processes, by distributed rank: x_CX.

    The gradients of all processes' losses flow back to the process that owns a row.
    """
    return torch.cat(all_gather(x_N)) if get_world_size() > 1 else x_N


def all_reduce(x: Tensor) -> Tensor:
    """Return the sum over all processes, without a gradient."""
    x = x.detach().clone()
    if get_world_size() > 1:
        distributed.all_reduce(x)
    return x


def all_reduce_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Give every process the sum of all processes' gradients, in one message.

    A parameter without a gradient in every process keeps none.
    """
    if get_world_size() == 1:
        return
    params = list(parameters)
    num_with_gradient = all_reduce(torch.tensor([float(p.grad is not None) for p in params])).tolist()
    params_with_gradient = [p for p, n in zip(params, num_with_gradient, strict=True) if n]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in params_with_gradient]
    flat = all_reduce(torch.cat([grad.flatten() for grad in gradients]))
    for p, part in zip(
        params_with_gradient, flat.split([p.numel() for p in params_with_gradient]), strict=True
    ):
        p.grad = part.view_as(p)


def fork_rng() -> None:
    """From here on, each process draws its own random numbers. Process 0 continues the shared ones."""
    if get_rank():
        torch.manual_seed(torch.initial_seed() + (get_rank() << 48))  # far from the seeds of other steps


def broadcast(value: float) -> float:
    """Return the value of process 0 in every process."""
    if get_world_size() == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.float64)
    distributed.broadcast(tensor, 0)
    return float(tensor)


def barrier() -> None:
    """Wait until all processes have reached this call."""
    if get_world_size() > 1:
        distributed.barrier()
