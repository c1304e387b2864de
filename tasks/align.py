"""Align the modalities: one projection each into a shared space, trained by InfoNCE on pairs of a video.

Trained on videos with training views only; some of them are held out, and what is reported is measured there.
With fewer than two modalities there is nothing to align; the projections then keep their first values.
"""

import json
import sys

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from tqdm import trange

from contracts import step
from contracts.digests import of_folder
from contracts.params import Align
from contracts.place import Night
from contracts.receipts import Receipt, write_json
from models.determinism import settle
from models.fusion import Catalogue, Projections
from models.losses import alignment_loss
from tasks.pinned import Pinned

HELD_OUT = 0.1  # share of the training videos that are measured on instead of trained on


def run(params: Align, night: Night) -> Receipt:
    """Write `heads.safetensors` (the projections, with width and temperature) and `metrics.json`."""
    settle(params.seed)
    pinned, out = Pinned(night), night.folder("align")
    widths = {m: pinned.features[m].shape[1] for m in pinned.modalities}
    catalogue = pinned.catalogue(widths, [])
    known = (pinned.train_views > 0).nonzero().squeeze(1)
    shuffled = known[torch.randperm(len(known))]
    held, used = shuffled.split([round(HELD_OUT * len(known)), len(known) - round(HELD_OUT * len(known))])

    heads = Projections(widths, params.width)
    set_statistics(heads, catalogue, used)
    curve = train(heads, catalogue, used, params)
    with torch.no_grad():
        metrics = {
            "pairs": measure(heads(catalogue)[held], catalogue.has_VM[held], list(widths)),
            "loss": curve,
        }
    # One key only: safetensors writes several in random order, and the same heads must give the same bytes.
    about = {"align": json.dumps({"width": params.width, "temperature": params.temperature})}
    save_file(heads.state_dict(), out / "heads.safetensors", metadata=about)
    write_json(out / "metrics.json", metrics)
    return Receipt(digests=of_folder(out), facts={"videos": len(used), "pairs": metrics["pairs"]})


def set_statistics(heads: Projections, catalogue: Catalogue, used: Tensor) -> None:
    """Mean and deviation of each modality, from the training videos that have it."""
    for i, (name, head) in enumerate(heads.heads.items()):
        there = used[catalogue.has_VM[used, i]]
        if len(there):
            head.set_statistics(catalogue.features[name][there])  # type: ignore[operator]


def train(heads: Projections, catalogue: Catalogue, used: Tensor, params: Align) -> list[float]:
    """Minimise InfoNCE over the pairs of modalities; returns the mean loss of each epoch."""
    if len(heads.heads) < 2 or not len(used):
        return []
    optimiser = torch.optim.AdamW(heads.parameters(), lr=params.learning_rate)
    curve = []
    for epoch in trange(params.epochs, desc="align", unit="epoch"):
        draw = torch.Generator().manual_seed(params.seed * 1_000_003 + epoch)
        batches = used[torch.randperm(len(used), generator=draw)].split(params.batch_size)
        curve.append(
            sum(_step(heads, optimiser, _part(catalogue, b), params) for b in batches) / len(batches)
        )
    return curve


def _step(heads: Projections, optimiser: torch.optim.Optimizer, part: Catalogue, params: Align) -> float:
    loss = alignment_loss(heads(part), part.has_VM, params.temperature)
    if not bool(torch.isfinite(loss)):
        raise FloatingPointError(f"align: the loss is {loss.item()}; lower align.learning_rate")
    if loss.requires_grad:
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float(loss.detach())


def _part(catalogue: Catalogue, rows: Tensor) -> Catalogue:
    features = {m: x_VF[rows] for m, x_VF in catalogue.features.items()}
    return Catalogue(features, catalogue.has_VM[rows], catalogue.id_row_V[rows])


def measure(x_VMD: Tensor, has_VM: Tensor, names: list[str]) -> dict[str, dict[str, float]]:
    """Per pair of modalities: cross-modal recall@1 and @10, alignment and uniformity (Wang & Isola 2020)."""
    found = {}
    for a in range(len(names)):
        for b in range(a + 1, len(names)):
            both_V = has_VM[:, a] & has_VM[:, b]
            if int(both_V.sum()) > 1:
                found[f"{names[a]}-{names[b]}"] = _pair(x_VMD[both_V, a], x_VMD[both_V, b])
    return found


def _pair(a_ND: Tensor, b_ND: Tensor) -> dict[str, float]:
    a_ND, b_ND = F.normalize(a_ND, dim=1), F.normalize(b_ND, dim=1)
    likeness_NN = a_ND @ b_ND.T
    above_N = (likeness_NN > likeness_NN.diagonal()[:, None]).sum(1)
    spread = torch.stack([torch.pdist(x).pow(2).mul(-2).exp().mean().log() for x in (a_ND, b_ND)]).mean()
    return {
        "videos": len(a_ND),
        "recall@1": float((above_N < 1).float().mean()),
        "recall@10": float((above_N < 10).float().mean()),
        "alignment": float((a_ND - b_ND).pow(2).sum(1).mean()),
        "uniformity": float(spread),
    }


if __name__ == "__main__":
    sys.exit(step.main("align", run, __doc__))
