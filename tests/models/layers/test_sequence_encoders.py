"""Blocks and encoders equal their formulas."""

import pytest
import torch
from torch import Tensor

from models.layers.sequence_encoders import HSTUBlock, LiGRBlock, TransformerBlock, build_encoder, split_heads


def test_a_transformer_block_equals_the_formula() -> None:
    torch.manual_seed(0)
    block, x_BSD = TransformerBlock(8, 2, 0.0).eval(), torch.randn(2, 5, 8)
    q_BXSd, k_BXSd, v_BXSd = (
        split_heads(part, 2) for part in block.qkv(block.attention_norm(x_BSD)).chunk(3, -1)
    )
    attended_BSD = torch.zeros(2, 5, 8)
    for state in range(5):
        logit_BXS = (q_BXSd[:, :, state, None] * k_BXSd[:, :, : state + 1]).sum(-1) / 4**0.5
        weight_BXS = logit_BXS.exp() / logit_BXS.exp().sum(-1, keepdim=True)
        attended_BSD[:, state] = (weight_BXS[..., None] * v_BXSd[:, :, : state + 1]).sum(2).flatten(1)
    h_BSD = x_BSD + block.output_projection(attended_BSD)
    expected = h_BSD + block.feed_forward(block.feed_forward_norm(h_BSD))
    assert torch.allclose(block(x_BSD), expected, atol=1e-5)


@pytest.mark.parametrize("block_class", [TransformerBlock, LiGRBlock])
def test_the_attention_weights_are_those_of_the_update(block_class: type[TransformerBlock]) -> None:
    torch.manual_seed(0)
    block, x_BSD = block_class(8, 2, 0.0).eval(), torch.randn(2, 5, 8)
    v_BXSd = split_heads(block.qkv(block.attention_norm(x_BSD)).chunk(3, -1)[2], 2)
    attended_BSD = (block.attention_weights(x_BSD) @ v_BXSd).transpose(1, 2).flatten(2)
    assert torch.allclose(block.output_projection(attended_BSD), block._attention_update(x_BSD), atol=1e-5)


def test_the_attention_rollout_multiplies_the_layers() -> None:
    torch.manual_seed(0)
    encoder, x_BSD = (
        build_encoder("transformer", 8, 2, 2, 0.0, 6, use_positions=True).eval(),
        torch.randn(2, 5, 8),
    )
    first, second = encoder.blocks
    half_SS = torch.eye(5) / 2
    first_BSS = first.attention_weights(x_BSD).mean(1) / 2 + half_SS
    second_BSS = second.attention_weights(first(x_BSD)).mean(1) / 2 + half_SS
    rollout_BSS = encoder.attention_rollout(x_BSD)
    assert torch.allclose(rollout_BSS, second_BSS @ first_BSS, atol=1e-6)
    assert torch.allclose(rollout_BSS.sum(2), torch.ones(2, 5))
    assert not rollout_BSS.triu(1).any()


def test_the_mean_encoder_reads_the_mean_of_all_inputs_so_far() -> None:
    torch.manual_seed(0)
    encoder, x_BSD = build_encoder("mean", 8, 1, 2, 0.0, 6, use_positions=True).eval(), torch.randn(2, 5, 8)
    for state in range(5):
        mean_BD = sum(x_BSD[:, s] for s in range(state + 1)) / (state + 1)
        expected = encoder.norm(mean_BD + encoder.feed_forward(mean_BD))
        assert torch.allclose(encoder(x_BSD)[:, state], expected, atol=1e-5)


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


def make_ligr_block() -> tuple[LiGRBlock, Tensor]:
    torch.manual_seed(0)
    return LiGRBlock(8, 2, 0.0).eval(), torch.randn(2, 5, 8)


def test_a_ligr_block_equals_the_formula() -> None:
    block, x_BSD = make_ligr_block()
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    attention.in_proj_weight, attention.in_proj_bias = block.qkv.weight, block.qkv.bias
    attention.out_proj.weight, attention.out_proj.bias = (
        block.output_projection.weight,
        block.output_projection.bias,
    )
    norm_BSD, future_SS = block.attention_norm(x_BSD), torch.ones(5, 5, dtype=torch.bool).triu(1)
    attended_BSD, _ = attention(norm_BSD, norm_BSD, norm_BSD, attn_mask=future_SS)
    h_BSD = x_BSD + torch.sigmoid(block.attention_gate(x_BSD)) * attended_BSD
    g_BSD, ff = block.feed_forward_norm(h_BSD), block.feed_forward
    hidden = torch.nn.functional.silu(g_BSD @ ff.gate.weight.T) * (g_BSD @ ff.value.weight.T)
    expected = h_BSD + torch.sigmoid(block.feed_forward_gate(h_BSD)) * (
        hidden @ ff.output_projection.weight.T
    )
    assert torch.allclose(block(x_BSD), expected, atol=1e-5)


def set_gates(block: LiGRBlock, logit: float) -> None:
    with torch.no_grad():
        for gate in (block.attention_gate, block.feed_forward_gate):
            torch.nn.init.zeros_(gate.weight)
            torch.nn.init.constant_(gate.bias, logit)


def test_closed_gates_keep_the_state_and_open_gates_pass_the_update() -> None:
    block, x_BSD = make_ligr_block()
    set_gates(block, -200.0)
    assert torch.equal(block(x_BSD), x_BSD)
    set_gates(block, 200.0)
    assert torch.equal(block(x_BSD), TransformerBlock.forward(block, x_BSD))


@pytest.mark.parametrize("name", ["transformer", "ligr", "hstu", "lstm", "mean"])
def test_a_later_input_does_not_change_an_earlier_state(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(name, 8, 2, 2, 0.0, 6, use_positions=True).eval()
    x_BSD = torch.randn(2, 6, 8)
    for s in range(1, 6):
        changed_BSD = x_BSD.clone()
        changed_BSD[:, s] += 1.0 + torch.arange(8)
        before, after = encoder(x_BSD), encoder(changed_BSD)
        assert torch.allclose(before[:, :s], after[:, :s], atol=1e-6)
        assert (before[:, s:] - after[:, s:]).abs().amax((0, 2)).min() > 1e-4


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="width 8 cannot be split among 3 attention heads"):
        build_encoder("ligr", 8, 1, 3, 0.0, 6, use_positions=True)
