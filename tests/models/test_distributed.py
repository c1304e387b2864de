"""Several processes compute the gradients of one, however the batch divides."""

import sys
from pathlib import Path

import torch

from models import distributed
from tests.support.torchrun import torchrun

VIDEOS = 7  # does not divide by two


def step() -> dict[str, torch.Tensor]:
    """Return loss and gradients of one alignment step on a fixed batch, sharded over the processes."""
    from models.layers.projections import ModalityProjections
    from models.losses.info_nce import NearDuplicates, anchor_loss, info_nce_loss
    from tests.support.model_inputs import WIDTHS, make_item_table

    torch.manual_seed(0)
    heads = ModalityProjections(WIDTHS, 8)
    reference = ModalityProjections(WIDTHS, 8)
    videos = make_item_table(VIDEOS)
    videos.modality_features["text"][4] = videos.modality_features["text"][3]
    rows = distributed.pad_and_shard(torch.arange(VIDEOS))
    shard = videos.select(rows.clamp(min=0))
    has_VM = shard.has_VM & (rows >= 0)[:, None]
    x_VMD = heads(shard)
    loss = info_nce_loss(
        x_VMD, has_VM, heads.temperature, NearDuplicates(heads.standardised_features(shard), 0.99)
    )
    loss = loss + 0.5 * anchor_loss(x_VMD, reference(shard), has_VM)
    loss.backward()
    distributed.all_reduce_gradients(heads.parameters())
    gradients = {name: p.grad for name, p in heads.named_parameters() if p.grad is not None}
    return {"loss": distributed.all_reduce(loss), **gradients}


def main(out: Path) -> None:
    """Entry point of the processes that torchrun starts."""
    with distributed.process_group():
        torch.save(step(), out / f"{distributed.get_rank()}.pt")


def test_two_processes_compute_the_gradients_of_one(tmp_path: Path) -> None:
    torchrun("tests.models.test_distributed", tmp_path)
    alone = step()
    assert float(alone["loss"]) > 0.1
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            assert torch.allclose(together[name], value, atol=1e-6), name


def test_one_process_needs_no_communication() -> None:
    rows = torch.arange(5)
    assert (distributed.get_world_size(), distributed.get_rank()) == (1, 0)
    assert torch.equal(distributed.pad_and_shard(rows), rows)
    assert distributed.all_gather_rows(rows) is rows
    assert torch.equal(distributed.all_reduce(rows), rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
