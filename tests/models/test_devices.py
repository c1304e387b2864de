"""Where tensors are, and how a device attends."""

import torch

from models.devices import attention_on


def test_a_gpu_attends_with_one_kernel_and_others_as_before() -> None:
    def chosen() -> tuple[bool, bool, bool]:
        its = torch.backends.cuda
        return its.cudnn_sdp_enabled(), its.flash_sdp_enabled(), its.mem_efficient_sdp_enabled()

    before = chosen()
    with attention_on(torch.device("cuda")):
        assert chosen() == (False, False, True)
    assert chosen() == before
    with attention_on(torch.device("cpu")):
        assert chosen() == before
