"""Attention as exported equals attention as applied."""

import torch

from models.sequence import Block, HSTUBlock, split_heads


def test_the_exported_attention_is_the_one_that_the_layer_applies() -> None:
    torch.manual_seed(0)
    block, x_BSD = Block(8, 1, 0.0).eval(), torch.randn(2, 5, 8)
    _, _, v_BHSK = block._split(x_BSD)
    mixed_BSD = block.attention(x_BSD) @ v_BHSK.squeeze(1)
    x = x_BSD + block.out(mixed_BSD)
    assert torch.allclose(x + block.feed(block.after(x)), block(x_BSD), atol=1e-5)


def test_the_weights_of_hstu_are_those_that_it_applies_and_forget_nothing_by_padding() -> None:
    torch.manual_seed(0)
    block, x_BSD = HSTUBlock(8, 2, 0.0, 6, positions=True).eval(), torch.randn(2, 5, 8)
    torch.nn.init.normal_(block.distance)
    u_BSD, v_BSD, q_BSD, k_BSD = torch.nn.functional.silu(block.uvqk(block.before(x_BSD))).chunk(4, -1)
    weight_BHSS = block._weights(q_BSD, k_BSD)
    by_hand = torch.zeros(2, 5, 8)
    for state in range(5):
        for past in range(state + 1):
            q, k, v = (
                split_heads(t, 2)[:, :, at] for t, at in ((q_BSD, state), (k_BSD, past), (v_BSD, past))
            )
            logit = (q * k).sum(-1) * 4**-0.5 + block.distance[:, state - past]
            by_hand[:, state] += ((torch.nn.functional.silu(logit) / (state + 1))[..., None] * v).flatten(1)
    mixed = (weight_BHSS @ split_heads(v_BSD, 2)).transpose(1, 2).flatten(2)
    assert torch.allclose(mixed, by_hand, atol=1e-6)
    assert torch.allclose(block(x_BSD), x_BSD + block.out(block.mixed(by_hand) * u_BSD), atol=1e-5)
    assert torch.allclose(block.attention(x_BSD).sum(-1), torch.ones(2, 5), atol=1e-5)
