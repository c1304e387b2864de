"""Batches of users with sequences of similar length, and the seed of every step."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

POOL_BATCHES = 16  # users of so many batches are sorted by length together


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Return the seed of one step, below 2**63. So a resumed run draws the same numbers."""
    return ((seed * 1_000_003 + epoch) * 1_000_003 + step) % (1 << 63)


def batches(
    users: Tensor,
    lengths: Tensor,
    batch_size: int,
    batch_by: Literal["users", "events"],
    seed: int,
    epoch: int,
) -> Iterator[Tensor]:
    """Yield the users of an epoch in batches of similar length, so that little is padding.

    Users are shuffled. The users of `POOL_BATCHES` batches at a time are sorted by length. Then the batches
    are shuffled. The order depends on seed and epoch only. All tensors stay on the CPU.

    Args:
        users: Rows of the users.
        lengths: Number of interactions of each user, at least 1.
        batch_size: Users in a batch, on average.
        batch_by: `users` gives each batch the same number of users. `events` gives each batch about the same
            number of interactions. The loss of a step is a mean over interactions. So with `users` an
            interaction of a short sequence counts more.
        seed: Of the training.
        epoch: Counted from 0.

    Yields:
        Elements of `users`, one tensor for each batch.
    """
    generator = torch.Generator("cpu").manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(users), generator=generator, device="cpu")
    pools = [pool[lengths[pool].argsort(stable=True)] for pool in order.split(batch_size * POOL_BATCHES)]
    split_sizes = [
        batch_size if batch_by == "users" else _even_split(lengths[pool].long(), batch_size) for pool in pools
    ]
    user_batches = [
        positions
        for pool, split_size in zip(pools, split_sizes, strict=True)
        for positions in pool.split(split_size)
    ]
    for i in torch.randperm(len(user_batches), generator=generator, device="cpu").tolist():
        yield users[user_batches[i]]


def _even_split(lengths: Tensor, batch_size: int) -> list[int]:
    """Return the sizes of consecutive batches with about the same number of interactions.

    There are as many batches as with `users`.
    """
    num_batches, cumulative = -(-len(lengths) // batch_size), lengths.cumsum(0)
    # A user belongs to the batch that holds the middle interaction of the user.
    batch_index = (2 * cumulative - lengths) * num_batches // (2 * cumulative[-1])
    return [users for users in batch_index.bincount().tolist() if users]
