"""Align the modalities: one projection each into a shared space, trained by InfoNCE on pairs of a video.

It starts from the champion's projections where they read the same encoders, is anchored to them, and keeps
the last epoch in which the space has not moved beyond the bound. Trained on videos with training views only;
what is reported is measured on videos that no night's alignment has learned from. With fewer than two
modalities there is nothing to align; the projections then stay as they start.

Several processes share each batch where torchrun starts them:
torchrun --nproc-per-node 4 -m tasks.align --night YYYY-MM-DD
"""

import copy
import json
import math
import sys
from typing import Any

import torch
from safetensors.torch import save_file
from tqdm import trange

from contracts import step
from contracts.digests import of_folder
from contracts.model_params import Align
from contracts.place import Night
from contracts.receipts import Receipt, write_json
from models import processes
from models.alignment import Twins, alignment_loss, anchor_loss, farthest, retrieval
from models.determinism import settle
from models.fusion import Catalogue, Projections
from tasks.pinned import Pinned
from tasks.space import Space, served

MEASURED = 2048  # held-out videos that retrieval is measured on, so that nights of any size compare


def run(params: Align, night: Night) -> Receipt:
    """Write `heads.safetensors` (the projections with their temperature) and `metrics.json`.

    Raises:
        InputError: the champion cannot be read by this version.
    """
    with processes.joined():
        settle(params.seed)
        pinned, out = Pinned(night), night.fresh_folder("align", mine=processes.rank() == 0)
        processes.wait()
        catalogue, space = pinned.catalogue(pinned.widths, []), served(pinned, params.width)
        heads = warm(space.last) if space.last else cold(params, pinned, catalogue)
        curve = train(heads, space, catalogue, pinned, params)
        metrics = {
            "start": f"{'warm' if space.last else 'cold'}: {space.why}",
            "epoch": max((row["epoch"] for row in curve if row["drift"] <= params.max_drift), default=0),
            "curve": curve,
            **measure(heads, space, catalogue, pinned, params),
        }
        if processes.rank() == 0:
            # One key only: safetensors writes several in random order, and bytes are to repeat.
            about = {"align": json.dumps({"width": params.width, "twin_cosine": params.twin_cosine})}
            save_file(heads.state_dict(), out / "heads.safetensors", metadata=about)
            write_json(out / "metrics.json", metrics)
        processes.wait()
    return Receipt(digests=of_folder(out), facts={k: v for k, v in metrics.items() if k != "curve"})


def warm(last: Projections) -> Projections:
    """The champion's projections, to be trained on; its statistics and temperature stay with them."""
    return copy.deepcopy(last).requires_grad_(True)


def cold(params: Align, pinned: Pinned, catalogue: Catalogue) -> Projections:
    """New projections that standardise by the training videos which have the modality."""
    heads, used = Projections(pinned.widths, params.width, params.temperature), pinned.aligned
    for i, (name, head) in enumerate(heads.heads.items()):
        there = used[catalogue.has_VM[used, i]]
        if len(there):
            head.set_statistics(catalogue.features[name][there])  # type: ignore[operator]
    return heads


def train(
    heads: Projections, space: Space, catalogue: Catalogue, pinned: Pinned, params: Align
) -> list[dict[str, float]]:
    """Minimise InfoNCE over the pairs of modalities, and leave the heads at the last epoch within the bound.

    Epoch 0 is the start itself, which has not moved.

    Returns:
        A row an epoch: mean loss, temperature, drift on the probe videos.
    """
    if len(heads.heads) < 2 or not len(pinned.aligned):
        return []
    optimiser = torch.optim.AdamW(heads.parameters(), lr=params.learning_rate)
    kept, curve = copy.deepcopy(heads.state_dict()), []
    for epoch in trange(params.epochs, desc="align", unit="epoch", disable=processes.rank() > 0):
        draw = torch.Generator().manual_seed(params.seed * 1_000_003 + epoch)
        order = pinned.aligned[torch.randperm(len(pinned.aligned), generator=draw)]
        batches = [processes.share(rows) for rows in order.split(params.batch_size)]
        loss = sum(_step(heads, optimiser, space.last, catalogue.take(rows), params) for rows in batches)
        row = {"epoch": epoch + 1, "loss": loss / len(batches), "temperature": heads.temperature.item()}
        curve.append(row | {"drift": farthest(space.drift(heads))})
        if curve[-1]["drift"] <= params.max_drift:
            kept = copy.deepcopy(heads.state_dict())
    heads.load_state_dict(kept)
    return curve


def _step(
    heads: Projections,
    optimiser: torch.optim.Optimizer,
    last: Projections | None,
    part: Catalogue,
    params: Align,
) -> float:
    x_VMD = heads(part)
    loss = alignment_loss(x_VMD, part.has_VM, heads.temperature, Twins(heads.looks(part), params.twin_cosine))
    if last is not None:
        loss = loss + params.anchor_weight * anchor_loss(x_VMD, last(part), part.has_VM)
    batch_loss = float(processes.total(loss))
    if not math.isfinite(batch_loss):
        raise FloatingPointError(f"align: the loss is {batch_loss}; lower align.learning_rate")
    optimiser.zero_grad()
    loss.backward()
    processes.add_gradients(heads.parameters())
    optimiser.step()
    heads.bound_temperature()
    return batch_loss


@torch.no_grad()
def measure(
    heads: Projections, space: Space, catalogue: Catalogue, pinned: Pinned, params: Align
) -> dict[str, Any]:
    """What is reported of the heads: retrieval on held-out videos, drift on probe videos, temperature."""
    held = catalogue.take(pinned.held_out[:MEASURED])
    twins = Twins(heads.looks(held), params.twin_cosine)
    return {
        "videos": len(pinned.aligned),
        "temperature": heads.temperature.item(),
        "pairs": retrieval(heads(held), held.has_VM, twins, list(heads.heads)),
        "drift": space.drift(heads),
    }


if __name__ == "__main__":
    sys.exit(step.main("align", run, __doc__))
