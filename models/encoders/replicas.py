"""One encoder on several devices: each encodes a shard of the batch at the same time.

If a device has too little memory for a shard, the shard is halved until it fits. That device then tries no
larger one.
"""

import copy
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from models.encoders.base import Encoder


class EncoderReplicas:
    """An encoder and copies of it, one for each device.

    Threads are enough, because torch computes without the GIL.

    Args:
        encoder: It is on the first device, and stays there.
        devices: The devices.
    """

    def __init__(self, encoder: Encoder, devices: Sequence[torch.device]) -> None:
        self._encoders = [encoder, *(copy.deepcopy(encoder).to(device) for device in devices[1:])]
        self._max_batch = [sys.maxsize] * len(devices)
        self._threads = ThreadPoolExecutor(len(devices), "encoder")

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Return unit vectors [B, D] float32 of a non-empty batch, in its order.

        Raises:
            torch.OutOfMemoryError: A device has too little memory for a single input.
        """
        shards = [shard for shard in np.array_split(np.arange(len(batch)), len(self._encoders)) if len(shard)]
        jobs = [
            self._threads.submit(self._encode, device, [batch[i] for i in shard])
            for device, shard in enumerate(shards)
        ]
        return np.concatenate([job.result() for job in jobs])

    def _encode(self, device: int, inputs: Sequence[Any]) -> np.ndarray:
        """Encode on one device, as many inputs at a time as fit into its memory."""
        encoder, size = self._encoders[device], min(self._max_batch[device], len(inputs))
        while True:
            try:
                starts = range(0, len(inputs), size)
                return np.concatenate([encoder.encode(inputs[start : start + size]) for start in starts])
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                self._max_batch[device] = size = size // 2
