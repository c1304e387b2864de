"""Attention as exported equals attention as applied."""

import torch

from models.sequence import Block


def test_the_exported_attention_is_the_one_that_the_layer_applies() -> None:
    torch.manual_seed(0)
    block, x_BSD = Block(8, 1, 0.0).eval(), torch.randn(2, 5, 8)
    _, _, v_BHSK = block._split(x_BSD)
    mixed_BSD = block.attention(x_BSD) @ v_BHSK.squeeze(1)
    x = x_BSD + block.out(mixed_BSD)
    assert torch.allclose(x + block.feed(block.after(x)), block(x_BSD), atol=1e-5)
