"""Where new tensors are created, and which attention kernel a device uses."""

import torch

from models.devices import default_device, efficient_attention


def test_a_gpu_uses_one_attention_kernel() -> None:
    def enabled_kernels() -> tuple[bool, bool, bool]:
        cuda = torch.backends.cuda
        return cuda.cudnn_sdp_enabled(), cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled()

    before = enabled_kernels()
    with efficient_attention(torch.device("cuda")):
        assert enabled_kernels() == (False, False, True)
    assert enabled_kernels() == before
    with efficient_attention(torch.device("cpu")):
        assert enabled_kernels() == before


def test_new_tensors_are_on_the_default_device() -> None:
    with default_device(torch.device("meta")):
        assert torch.zeros(1).device.type == "meta"
    with default_device(torch.device("cpu")):
        assert torch.zeros(1).device.type == "cpu"
        assert not torch.overrides._get_current_function_mode_stack()
