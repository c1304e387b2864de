"""Exported attention weights equal those that are applied."""

import torch

from models.layers.sequence_encoders import HSTUBlock, TransformerBlock, split_heads


def test_exported_attention_equals_applied_attention() -> None:
    torch.manual_seed(0)
    block, x_BSD = TransformerBlock(8, 1, 0.0).eval(), torch.randn(2, 5, 8)
    _, _, v_BHSK = block._query_key_value(x_BSD)
    attended_BSD = block.attention_weights(x_BSD) @ v_BHSK.squeeze(1)
    x = x_BSD + block.output_projection(attended_BSD)
    assert torch.allclose(x + block.feed_forward(block.feed_forward_norm(x)), block(x_BSD), atol=1e-5)


def test_hstu_weights_equal_the_formula() -> None:
    torch.manual_seed(0)
    block, x_BSD = HSTUBlock(8, 2, 0.0, 6, use_positions=True).eval(), torch.randn(2, 5, 8)
    torch.nn.init.normal_(block.relative_bias)
    u_BSD, v_BSD, q_BSD, k_BSD = torch.nn.functional.silu(block.uvqk(block.input_norm(x_BSD))).chunk(4, -1)
    weight_BXSS = block._pointwise_weights(q_BSD, k_BSD)
    by_hand = torch.zeros(2, 5, 8)
    for state in range(5):
        for event in range(state + 1):
            q, k, v = (
                split_heads(t, 2)[:, :, index]
                for t, index in ((q_BSD, state), (k_BSD, event), (v_BSD, event))
            )
            logit = (q * k).sum(-1) * 4**-0.5 + block.relative_bias[:, state - event]
            by_hand[:, state] += ((torch.nn.functional.silu(logit) / (state + 1))[..., None] * v).flatten(1)
    attended = (weight_BXSS @ split_heads(v_BSD, 2)).transpose(1, 2).flatten(2)
    assert torch.allclose(attended, by_hand, atol=1e-6)
    assert torch.allclose(
        block(x_BSD), x_BSD + block.output_projection(block.attention_norm(by_hand) * u_BSD), atol=1e-5
    )
    assert torch.allclose(block.attention_weights(x_BSD).sum(-1), torch.ones(2, 5), atol=1e-5)
