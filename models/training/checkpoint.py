"""Checkpoints of a training run. A killed run resumes from its checkpoint.

On a CPU the resumed run ends with the same weights as an uninterrupted one, bit for bit.
"""

import hashlib
import io
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

from models import distributed
from models.training.trainer import Callback, Progress, Trainer


class Checkpoint(Callback):
    """Saves the state of a run in one file that is replaced as a whole.

    The first line of the file is the SHA-256 of the rest. The rest is written by `torch.save`.

    Args:
        path: Of the file.
        identity: Identifies model, data, parameters and code of the run. The checkpoint of a run with another
            identity is ignored.
        min_interval: Least number of seconds between two writes.
    """

    def __init__(self, path: Path, identity: str, min_interval: float = 60.0) -> None:
        self.path, self.identity, self.min_interval = path, identity, min_interval
        self._temporary = path.with_name(f".{path.name}.new")
        self._last_saved = time.monotonic()

    def on_train_start(self, trainer: Trainer) -> None:
        trainer.progress = self.load(trainer.task.model, trainer.optimizer) or trainer.progress

    def on_step_end(self, trainer: Trainer) -> None:
        self.save(trainer.progress, trainer.task.model, trainer.optimizer)

    def load(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress | None:
        """Restore model and optimizer of a killed run.

        Returns:
            The progress of that run. None if there is no checkpoint of this run.
        """
        saved = self._read()
        if saved is None or saved["identity"] != self.identity:
            return None
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        return Progress(**saved["progress"])

    def remove(self) -> None:
        """Delete the file after the run is complete."""
        if distributed.get_rank() == 0:
            for path in (self.path, self._temporary):
                path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        """Return the saved state. None if the file is missing or damaged."""
        if not self.path.exists():
            return None
        try:
            digest, _, state = self.path.read_bytes().partition(b"\n")
        except OSError:
            digest, state = b"", b""
        if digest != _digest(state):
            if distributed.get_rank() == 0:
                print(f"train: checkpoint {self.path} is damaged; training starts again", file=sys.stderr)
            return None
        return torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)

    def save(self, progress: Progress, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write the state if the last write is at least `min_interval` seconds ago."""
        if time.monotonic() - self._last_saved < self.min_interval or distributed.get_rank():
            return
        state: dict[str, Any] = {"identity": self.identity, "progress": vars(progress)}
        buffer = io.BytesIO()
        torch.save({**state, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
        with self._temporary.open("wb") as file:
            file.write(_digest(buffer.getbuffer()) + b"\n")
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        self._temporary.replace(self.path)
        _fsync_folder(self.path.parent)
        self._last_saved = time.monotonic()


def _digest(state: bytes | memoryview) -> bytes:
    return hashlib.sha256(state).hexdigest().encode()


def _fsync_folder(folder: Path) -> None:
    """Sync the folder, so that a rename in it survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
