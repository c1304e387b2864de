"""One encoder or reader on several devices: each encodes a shard of the batch at the same time.

If a device has too little memory for a shard, the shard is halved until it fits. That device then tries no
larger one.
"""

import copy
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from models.encoders.base import PretrainedModel
from models.encoders.screen_text import ScreenTextReader


class EncoderReplicas:
    """An encoder or reader and copies of it, one for each device.

    Threads are enough, because torch computes without the GIL.

    Args:
        encoder: It is on the first device, and stays there.
        devices: The devices. A `ScreenTextReader` uses the CPU only.

    Attributes:
        seconds: Time that `encode` took in all.
    """

    def __init__(self, encoder: PretrainedModel | ScreenTextReader, devices: Sequence[torch.device]) -> None:
        self._encoders: list[PretrainedModel | ScreenTextReader]
        if isinstance(encoder, ScreenTextReader):
            self._encoders, devices = [encoder], [torch.device("cpu")]
        else:
            self._encoders = [encoder, *(copy.deepcopy(encoder).to(device) for device in devices[1:])]
        self.seconds = 0.0
        self._devices, self._seconds_by_device = devices, [0.0] * len(devices)
        self._max_batch = [sys.maxsize] * len(devices)
        self._threads = ThreadPoolExecutor(len(devices), "encoder")

    def encode(self, batch: Sequence[Any]) -> np.ndarray:
        """Return what the encoder returns for a non-empty batch, in its order.

        Raises:
            torch.OutOfMemoryError: A device has too little memory for a single input.
        """
        started = time.perf_counter()
        shards = [shard for shard in np.array_split(np.arange(len(batch)), len(self._encoders)) if len(shard)]
        jobs = [
            self._threads.submit(self._encode, device, [batch[i] for i in shard])
            for device, shard in enumerate(shards)
        ]
        encoded = np.concatenate([job.result() for job in jobs])
        self.seconds += time.perf_counter() - started
        return encoded

    @property
    def gpu_seconds(self) -> float | None:
        """Time that GPUs were held, summed over them, with the preparation of inputs. None on the CPU."""
        return sum(self._seconds_by_device) if self._devices[0].type == "cuda" else None

    def _encode(self, device: int, inputs: Sequence[Any]) -> np.ndarray:
        """Encode on one device and add up its time."""
        started = time.perf_counter()
        encoded = self._encode_in_parts(device, inputs)
        self._seconds_by_device[device] += time.perf_counter() - started
        return encoded

    def _encode_in_parts(self, device: int, inputs: Sequence[Any]) -> np.ndarray:
        """Encode as many inputs at a time as fit into a device's memory."""
        encoder, size = self._encoders[device], min(self._max_batch[device], len(inputs))
        while True:
            try:
                starts = range(0, len(inputs), size)
                return np.concatenate([encoder.encode(inputs[start : start + size]) for start in starts])
            except torch.OutOfMemoryError:
                if size == 1:
                    raise
                self._max_batch[device] = size = size // 2
