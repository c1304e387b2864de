"""Which attention kernel a device uses."""

import torch

from models.devices import efficient_attention


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
