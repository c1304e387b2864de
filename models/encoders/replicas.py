"""One encoder on several devices: a batch is cut into shards, one a device, encoded at the same time."""

import copy
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
        self._threads = ThreadPoolExecutor(len(devices), "encoder")

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Unit vectors [B, D] float32 of a non-empty batch, in its order."""
        shards = [shard for shard in np.array_split(np.arange(len(batch)), len(self._encoders)) if len(shard)]
        jobs = [
            self._threads.submit(encoder.encode, [batch[i] for i in shard])
            for encoder, shard in zip(self._encoders, shards, strict=False)
        ]
        return np.concatenate([job.result() for job in jobs])
