"""One encoder on several devices: a batch is cut into shards, one a device, encoded at the same time.

A shard for which a device has no memory is halved until it fits, and no larger one is tried there again.
"""

import copy
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from models.encoders.base import Encoder


class Replicas:
    """An encoder and copies of it, one a device. Threads are enough: torch computes without the GIL.

    Args:
        encoder: it is on the first of the devices, and stays there.
    """

    def __init__(self, encoder: Encoder, devices: Sequence[torch.device]) -> None:
        self._encoders = [encoder, *(copy.deepcopy(encoder).to(device) for device in devices[1:])]
        self._most = [sys.maxsize] * len(devices)
        self._threads = ThreadPoolExecutor(len(devices), "encoder")

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Unit vectors [B, D] float32 of a non-empty batch, in its order.

        Raises:
            torch.OutOfMemoryError: a device has no memory for one thing alone.
        """
        shards = [shard for shard in np.array_split(np.arange(len(batch)), len(self._encoders)) if len(shard)]
        jobs = [
            self._threads.submit(self._encode, device, [batch[i] for i in shard])
            for device, shard in enumerate(shards)
        ]
        return np.concatenate([job.result() for job in jobs])

    def _encode(self, device: int, things: Sequence[Any]) -> np.ndarray:
        """On one device, so many at a time as it has memory for."""
        encoder, size = self._encoders[device], min(self._most[device], len(things))
        while True:
            try:
                parts = [encoder.encode(things[at : at + size]) for at in range(0, len(things), size)]
                return np.concatenate(parts)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                self._most[device] = size = size // 2
