"""The training loop: epochs until validation stops getting better, with checkpoints and exact resume.

Everything random depends on seed, epoch and step only, so that a run killed at any step and started again
goes on from its last checkpoint to the same model, to the last bit on a CPU.
"""

import copy
import hashlib
import io
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from contracts.errors import InputError
from contracts.model_params import Train
from models import processes
from models.devices import attention_on, moved, multiplies_bf16
from models.interest import InterestModel
from models.scoring import Scorer, Targets, mean_ndcg, read_once
from models.training import Objective, batches, descend, losses, step_seed

K = 10  # of the validation NDCG that stops training


@dataclass
class Progress:
    """How far a run has come.

    epoch, step: finished epochs, and finished steps of the one under way; sums: its losses so far.
    curve: a row a finished epoch. best, waited: the best validation so far, and epochs since.
    kept: the weights of the best epoch.
    """

    kept: dict[str, torch.Tensor]
    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    best: float = -1.0
    waited: int = 0

    def value(self, row: dict[str, float]) -> float:
        """What epochs are compared by; without anybody to validate on, the last is the best."""
        return row.get(f"ndcg@{K}", float(self.epoch))


class Checkpoint:
    """A run's state in one file, replaced as a whole: its sha256 on a line, then what torch saves.

    identity: of what is trained on what; a file of another run is passed over.
    seconds: at least so much time between two writes.
    """

    def __init__(self, path: Path, identity: str, seconds: float = 60.0) -> None:
        self.path, self.identity, self.seconds = path, identity, seconds
        self._new = path.with_name(f".{path.name}.new")
        self._written = time.monotonic()

    def load(self, model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> Progress | None:
        """Set model and optimiser to where a killed run was, if this is the same run."""
        saved = self._read()
        if saved is None or saved["identity"] != self.identity:
            return None
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        return Progress(**saved["progress"])

    def remove(self) -> None:
        """The run is over."""
        if processes.rank() == 0:
            for path in (self.path, self._new):
                path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any] | None:
        """What was saved; None where nothing was, or what is there is cut or damaged."""
        if not self.path.exists():
            return None
        try:
            digest, _, state = self.path.read_bytes().partition(b"\n")
        except OSError:
            digest, state = b"", b""
        if digest != _digest(state):
            if processes.rank() == 0:
                print(f"train: {self.path} cannot be read, so training starts anew", file=sys.stderr)
            return None
        return torch.load(io.BytesIO(state), map_location="cpu", weights_only=True)

    def save(self, progress: Progress, model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Write the state, if the last writing was long enough ago."""
        if time.monotonic() - self._written < self.seconds or processes.rank():
            return
        state: dict[str, Any] = {"identity": self.identity, "progress": vars(progress)}
        held = io.BytesIO()
        torch.save({**state, "model": model.state_dict(), "optimiser": optimiser.state_dict()}, held)
        with self._new.open("wb") as file:
            file.write(_digest(held.getbuffer()) + b"\n")
            file.write(held.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        self._new.replace(self.path)
        _sync_folder(self.path.parent)
        self._written = time.monotonic()


def _digest(state: bytes | memoryview) -> bytes:
    return hashlib.sha256(state).hexdigest().encode()


def _sync_folder(folder: Path) -> None:
    """Bring a renaming to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fit(
    scorer: Scorer, valid: Targets, params: Train, objective: Objective, checkpoint: Checkpoint | None = None
) -> list[dict[str, float]]:
    """Train until validation stops getting better, and leave the model at its best epoch.

    Without anybody to validate on, all epochs are trained and the last is kept.

    Returns:
        The curve, a row an epoch: mean of each loss, mean gradient norm, learning rate, validation NDCG@10.

    Raises:
        FloatingPointError: a loss or gradient is not finite; names epoch, step and batch.
    """
    device = choose_device(params.device)
    model = scorer.model.to(device)
    assert isinstance(model, InterestModel)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay, fused=True
    )
    with torch.device(device), attention_on(device):
        here = read_once(Scorer(model, moved(scorer.catalogue, device), moved(scorer.people, device)))
        objective, valid = moved(objective, device), moved(valid, device)
        progress = (checkpoint and checkpoint.load(model, optimiser)) or Progress(
            copy.deepcopy(model.state_dict())
        )
        silent = processes.rank() > 0
        bar = tqdm(total=params.epochs, initial=progress.epoch, desc="train", unit="epoch", disable=silent)
        while progress.epoch < params.epochs and progress.waited < params.patience:
            for _ in _steps(here, optimiser, params, objective, progress):
                if checkpoint:
                    checkpoint.save(progress, model, optimiser)
            row = _close_epoch(here, valid, progress)
            bar.update()
            bar.set_postfix({n: f"{row[n]:.4f}" for n in ("retrieval", f"ndcg@{K}") if n in row})
        bar.close()
    model.load_state_dict(progress.kept)
    model.to("cpu")
    return progress.curve


def choose_device(name: str) -> torch.device:
    """`cpu`, `cuda` (with several processes: one GPU each), or `auto`: a GPU where there is one.

    Raises:
        InputError: `cuda` where torch sees none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("params.yaml: train.device is cuda, but torch sees no GPU; write auto or cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def lower_precision(params: Train, device: torch.device) -> bool:
    """Whether matrix products are computed in bf16. `auto` does so on a GPU that has it, and never on a CPU:
    the result would depend on the machine.
    """
    if params.precision == "auto":
        return device.type == "cuda" and multiplies_bf16(device)
    return params.precision == "bf16"


def _steps(
    scorer: Scorer, optimiser: torch.optim.Optimizer, params: Train, objective: Objective, progress: Progress
) -> Iterator[None]:
    """What is left of one pass over everybody with a history, a step at a time."""
    model = scorer.model.train()
    assert isinstance(model, InterestModel)
    lengths = scorer.people.histories.lengths.cpu().clamp(max=model.spec.max_length)
    users, cut = lengths.nonzero().squeeze(1), (params.batch_size, params.batch_of)
    order = list(batches(users, lengths[users], *cut, params.seed, progress.epoch))
    device = next(model.parameters()).device
    for i, users_B in list(enumerate(order))[progress.step :]:
        torch.manual_seed(step_seed(params.seed, progress.epoch, i))
        done = progress.epoch + (i + 1) / len(order)
        for group in optimiser.param_groups:
            group["lr"] = params.learning_rate * schedule(done, params.warmup_epochs, params.epochs)
        mine = processes.divide(users_B).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=lower_precision(params, device)):
            parts = losses(model, scorer.catalogue, scorer.people, mine, objective)
        at = f"epoch {progress.epoch + 1}, step {i + 1} of {len(order)}"
        where = f"{at} (batch of user rows {users_B[:3].tolist()}…)"
        norm = descend(model, optimiser, parts["total"], params.clip_norm, where)
        for name, part in parts.items():
            progress.sums[name] = progress.sums.get(name, 0.0) + float(processes.total(part)) / len(order)
        progress.sums["gradient_norm"] = progress.sums.get("gradient_norm", 0.0) + norm / len(order)
        progress.sums["learning_rate"] = optimiser.param_groups[0]["lr"]
        progress.step = i + 1
        yield


def _close_epoch(scorer: Scorer, valid: Targets, progress: Progress) -> dict[str, float]:
    """Validate, and note the epoch; returns its row of the curve."""
    progress.epoch += 1
    row = {"epoch": float(progress.epoch), **progress.sums}
    if len(valid.user_P):
        row[f"ndcg@{K}"] = processes.agreed(mean_ndcg(scorer, valid, K))
    progress.curve.append(row)
    progress.step, progress.sums = 0, {}
    progress.waited += 1
    if progress.value(row) > progress.best:
        progress.best, progress.waited = progress.value(row), 0
        progress.kept = copy.deepcopy(scorer.model.state_dict())
    return row


def schedule(epochs_done: float, warmup: int, epochs: int) -> float:
    """Share of the learning rate: a straight rise over the warm-up, then half a cosine down to 0.05."""
    if epochs_done < warmup:
        return epochs_done / warmup
    share = (epochs_done - warmup) / max(epochs - warmup, 1)
    return 0.05 + 0.95 * (1 + math.cos(math.pi * min(share, 1.0))) / 2
