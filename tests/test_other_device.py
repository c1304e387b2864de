"""The stand-in for a GPU refuses what CUDA refuses, and nothing else."""

import pytest
import torch

from tests.other_device import GPU, OtherDevice


def test_devices_do_not_mix_and_what_is_moved_does() -> None:
    with OtherDevice():
        here, there = torch.ones(2, 2), torch.ones(2, 2, device=GPU)
        assert (there @ there.to(GPU)).device == GPU
        assert (there.cpu() @ here).sum().item() == 8
        assert there[torch.tensor([0])].device == GPU
        for mixed in (lambda: here @ there, lambda: here[there.long()], lambda: torch.cat([here, there])):
            with pytest.raises(RuntimeError, match="same device"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(2, device=GPU, generator=torch.Generator("cpu"))
