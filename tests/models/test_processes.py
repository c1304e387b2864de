"""Several processes together learn what one learns alone, however the batch divides."""

import sys
from pathlib import Path

import torch

from models import processes
from tests.torchrun import torchrun

VIDEOS = 7  # does not divide by two


def step() -> dict[str, torch.Tensor]:
    """The loss and the gradients of one step of alignment on a fixed batch, whoever shares it."""
    from models.alignment import Twins, alignment_loss, anchor_loss
    from models.fusion import Projections
    from tests.models.worlds import WIDTHS, catalogue

    torch.manual_seed(0)
    heads, last, videos = Projections(WIDTHS, 8), Projections(WIDTHS, 8), catalogue(VIDEOS)
    videos.features["text"][4] = videos.features["text"][3]
    rows = processes.share(torch.arange(VIDEOS))
    part = videos.take(rows.clamp(min=0))
    has_VM = part.has_VM & (rows >= 0)[:, None]
    x_VMD = heads(part)
    loss = alignment_loss(x_VMD, has_VM, heads.temperature, Twins(heads.looks(part), 0.99))
    loss = loss + 0.5 * anchor_loss(x_VMD, last(part), has_VM)
    loss.backward()
    processes.add_gradients(heads.parameters())
    grown = {name: p.grad for name, p in heads.named_parameters() if p.grad is not None}
    return {"loss": processes.total(loss), **grown}


def main(out: Path) -> None:
    """What torchrun starts."""
    with processes.joined():
        torch.save(step(), out / f"{processes.rank()}.pt")


def test_processes_that_share_a_batch_learn_what_one_does(tmp_path: Path) -> None:
    torchrun("tests.models.test_processes", tmp_path)
    alone = step()
    assert float(alone["loss"]) > 0.1
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            assert torch.allclose(together[name], value, atol=1e-6), name


def test_alone_everything_is_the_identity() -> None:
    rows = torch.arange(5)
    assert (processes.count(), processes.rank()) == (1, 0)
    assert torch.equal(processes.share(rows), rows)
    assert processes.gathered(rows) is rows
    assert torch.equal(processes.total(rows), rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
