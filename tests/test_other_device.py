"""The fake GPU refuses what CUDA refuses, and nothing else."""

import pytest
import torch

from tests.support.other_device import GPU, OtherDevice


def test_tensors_of_two_devices_do_not_mix() -> None:
    with OtherDevice():
        on_cpu, on_gpu = torch.ones(2, 2), torch.ones(2, 2, device=GPU)
        assert (on_gpu @ on_gpu.to(GPU)).device == GPU
        assert (on_gpu.cpu() @ on_cpu).sum().item() == 8
        assert on_gpu[torch.tensor([0])].device == GPU
        for mixed in (
            lambda: on_cpu @ on_gpu,
            lambda: on_cpu[on_gpu.long()],
            lambda: torch.cat([on_cpu, on_gpu]),
        ):
            with pytest.raises(RuntimeError, match="same device"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            on_gpu.numpy()
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(2, device=GPU, generator=torch.Generator("cpu"))
