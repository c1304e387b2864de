"""How a baseline is trained: until validation stops getting better, the best epoch kept.

Legend: B users, V videos.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from tqdm import trange

from models.baselines.baseline import Baseline
from models.baselines.din import DIN
from models.histories import Histories
from models.likes import known_likes
from models.metrics import auc
from models.ranks import CHUNK_USERS
from models.scoring import Scorer
from models.training import batches, descend, step_seed


@dataclass(frozen=True)
class Fitting:
    """epochs: at most. patience: epochs without a better validation before stopping; the rest as in train."""

    epochs: int
    patience: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    clip_norm: float
    seed: int
    batch_of: Literal["people", "events"] = "people"


def fit(
    model: Baseline,
    histories: Histories,
    row_V: Tensor,
    fitting: Fitting,
    validate: Callable[[], dict[str, float]],
) -> list[dict[str, float]]:
    """Train, and leave the model at its best epoch by the first figure that `validate` gives.

    Where it gives none, all epochs are trained and the last is kept. A model without parameters only counts.

    Returns:
        The curve: a row an epoch with the mean loss and the figures of validation.

    Raises:
        FloatingPointError: a loss or gradient is not finite; names epoch and step.
    """
    model.start(known_likes(histories, row_V))
    if not (parameters := list(model.parameters())):
        return [{"epoch": 0, **validate()}]
    optimiser = torch.optim.AdamW(parameters, lr=fitting.learning_rate, weight_decay=fitting.weight_decay)
    curve: list[dict[str, float]] = []
    best, kept = -1.0, copy.deepcopy(model.state_dict())
    progress = trange(fitting.epochs, desc=model.spec.model, unit="epoch")
    for epoch in progress:
        loss = _epoch(model, histories, row_V, optimiser, fitting, epoch)
        model.settle()
        found = validate()
        curve.append({"epoch": epoch + 1, "loss": loss, **found})
        progress.set_postfix({name: f"{value:.4f}" for name, value in curve[-1].items()})
        value = next(iter(found.values()), float(epoch))
        if value > best:
            best, kept, waited = value, copy.deepcopy(model.state_dict()), 0
        elif (waited := waited + 1) >= fitting.patience:
            break
    progress.close()
    model.load_state_dict(kept)
    return curve


@torch.no_grad()
def liked_auc(scorer: Scorer, user_N: Tensor, row_N: Tensor, liked_N: Tensor) -> dict[str, float]:
    """AUC of DIN's first logit over viewings; empty where all or none were liked."""
    model = scorer.model.eval()
    assert isinstance(model, DIN)
    items, parts = model.items(scorer.catalogue), []
    for user_n, row_n in zip(user_N.split(CHUNK_USERS), row_N.split(CHUNK_USERS), strict=True):
        parts.append(model.likes(scorer.read(user_n, items), items, row_n))
    found = auc(torch.cat(parts).double().numpy(), liked_N.numpy()) if parts else None
    return {} if found is None else {"auc": found}


def _epoch(
    model: Baseline,
    histories: Histories,
    row_V: Tensor,
    optimiser: torch.optim.Optimizer,
    fitting: Fitting,
    epoch: int,
) -> float:
    """One pass over everybody with a history; the mean loss. All chance depends on seed, epoch and step."""
    losses, lengths = [], histories.lengths  # not cut at max_length: with these SASRec has more on MovieLens
    users, cut = lengths.nonzero().squeeze(1), (fitting.batch_size, fitting.batch_of)
    order = batches(users, lengths[users], *cut, fitting.seed, epoch)
    for i, users_B in enumerate(order):
        torch.manual_seed(step_seed(fitting.seed, epoch, i))
        loss = model.train().loss(histories.batch(users_B, model.spec.max_length), row_V)
        descend(model, optimiser, loss, fitting.clip_norm, f"epoch {epoch + 1}, step {i + 1}")
        losses.append(float(loss.detach()))
    return sum(losses) / max(len(losses), 1)
