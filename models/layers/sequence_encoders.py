"""Sequence encoders: equation (3).

State 0 knows no event. State i has read i events. Every encoder is causal: state i depends only on events
before i, so padding on the right cannot reach a state that is used. No encoder ends in a bias, because only
the difference from state 0 is used (models/layers/static_gate.py).
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.data.sequences import HOURS_PER_DAY, TIME_GAP_BUCKETS, SequenceBatch


class InteractionEmbedding(nn.Module):
    """Turns interactions (events) into the encoder's input: video, actions, hour and contexts.

    Args:
        width: D.
        num_behaviours: A.
        max_length: The longest sequence.
        use_positions: Whether positions and time gaps are embedded, too.
        context_sizes: Number of known values of each context.
    """

    def __init__(
        self,
        width: int,
        num_behaviours: int,
        max_length: int,
        use_positions: bool,
        context_sizes: Sequence[int],
    ) -> None:
        super().__init__()
        self.action_projection = nn.Linear(num_behaviours + 4, width)  # `_action_features`
        self.hour_embedding = nn.Embedding(HOURS_PER_DAY, width)
        self.context_embeddings = nn.ModuleList(
            nn.Embedding(size + 1, width, padding_idx=0) for size in context_sizes
        )
        self.start_token = nn.Parameter(torch.zeros(width))
        self.gap_embedding = nn.Embedding(TIME_GAP_BUCKETS, width) if use_positions else None
        self.position_embedding = nn.Embedding(max_length + 1, width) if use_positions else None
        nn.init.zeros_(self.action_projection.bias)
        for table in (
            self.action_projection,
            self.hour_embedding,
            self.gap_embedding,
            self.position_embedding,
            *self.context_embeddings,
        ):
            if table is not None:  # small, or parts that all events share would hide the video
                nn.init.normal_(table.weight, std=0.02)

    def forward(self, item_BTD: Tensor, batch: SequenceBatch) -> Tensor:
        """Return the encoder's input [B, S, D]: a start token, then one vector for each event."""
        x_BTD = (
            item_BTD
            + self.action_projection(self._action_features(batch))
            + self.hour_embedding(batch.hour_BT)
        )
        for embedding, code_BT in zip(self.context_embeddings, batch.context_BTJ.unbind(2), strict=True):
            x_BTD = x_BTD + embedding(code_BT)
        if self.gap_embedding is not None:
            x_BTD = x_BTD + self.gap_embedding(batch.time_gap_BT)
        start_B1D = self.start_token.expand(len(x_BTD), 1, -1)
        x_BSD = torch.cat([start_B1D, x_BTD * batch.mask_BT.unsqueeze(2)], 1)
        if self.position_embedding is not None:
            x_BSD = x_BSD + self.position_embedding.weight[: x_BSD.shape[1]]
        return x_BSD

    def _action_features(self, batch: SequenceBatch) -> Tensor:
        """Return what the user did as numbers [B, T, A + 4].

        They are the behaviours, the watch ratio, whether it is known, the sentiment, whether it is known.
        """
        pairs = (
            (batch.watch_ratio_BT, batch.watch_ratio_known_BT),
            (batch.sentiment_BT, batch.sentiment_known_BT),
        )
        numbers = [
            number_BT for value_BT, known_BT in pairs for number_BT in (value_BT * known_BT, known_BT.float())
        ]
        return torch.cat([batch.behaviour_BTA.float(), torch.stack(numbers, 2)], 2)


class TransformerBlock(nn.Module):
    """One pre-norm Transformer layer with causal attention."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.output_projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed_forward: nn.Module = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.residual_dropout = nn.Dropout(dropout)

    def forward(self, x_BSD: Tensor) -> Tensor:
        x_BSD = x_BSD + self._attention_update(x_BSD)
        return x_BSD + self._feed_forward_update(x_BSD)

    def attention_weights(self, x_BSD: Tensor) -> Tensor:
        """Return how much each state reads of each state, [B, X, S, S]. X is the number of heads."""
        q_BSD, k_BSD, _ = self.qkv(self.attention_norm(x_BSD)).chunk(3, -1)
        q_BXSd, k_BXSd = split_heads(q_BSD, self.num_heads), split_heads(k_BSD, self.num_heads)
        logit_BXSS = q_BXSd @ k_BXSd.transpose(-1, -2) * q_BXSd.shape[-1] ** -0.5
        future_SS = torch.ones(logit_BXSS.shape[-2:], dtype=torch.bool).triu(1)
        return logit_BXSS.masked_fill(future_SS, -torch.inf).softmax(-1)

    def _attention_update(self, x_BSD: Tensor) -> Tensor:
        """Return what attention adds to the states, [B, S, D]."""
        parts = self.qkv(self.attention_norm(x_BSD)).chunk(3, -1)
        q, k, v = (split_heads(part, self.num_heads) for part in parts)
        rate = self.dropout if self.training else 0.0
        attended_BXSd = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=rate)
        return self.residual_dropout(self.output_projection(attended_BXSd.transpose(1, 2).flatten(2)))

    def _feed_forward_update(self, x_BSD: Tensor) -> Tensor:
        """Return what the feed-forward network adds to the states, [B, S, D]."""
        return self.residual_dropout(self.feed_forward(self.feed_forward_norm(x_BSD)))


class SwiGLU(nn.Module):
    """A feed-forward network with a gate and no bias: W₃ (SiLU(W₁ x) · W₂ x) (arXiv 2002.05202)."""

    def __init__(self, width: int, hidden_width: int, dropout: float) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden_width, bias=False)
        self.value = nn.Linear(width, hidden_width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.output_projection = nn.Linear(hidden_width, width, bias=False)

    def forward(self, x_BSD: Tensor) -> Tensor:
        return self.output_projection(self.dropout(F.silu(self.gate(x_BSD)) * self.value(x_BSD)))


class LiGRBlock(TransformerBlock):
    """One layer of LiGR (arXiv 2502.03417): a pre-norm Transformer layer whose updates are gated.

    x ← x + σ(W₁ x) · attention(norm(x)), then x ← x + σ(W₂ x) · SwiGLU(norm(x)). The gates read the state
    before the norm. This is the layer of eSASRec (arXiv 2508.06450).
    """

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__(width, num_heads, dropout)
        self.feed_forward = SwiGLU(width, 4 * width, dropout)
        self.attention_gate, self.feed_forward_gate = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x_BSD: Tensor) -> Tensor:
        x_BSD = x_BSD + torch.sigmoid(self.attention_gate(x_BSD)) * self._attention_update(x_BSD)
        return x_BSD + torch.sigmoid(self.feed_forward_gate(x_BSD)) * self._feed_forward_update(x_BSD)


class HSTUBlock(nn.Module):
    """One layer of HSTU (arXiv 2402.17152, equations 1 to 3): pointwise attention with a gate.

    The weights are SiLU without a softmax, so the number of similar events is not lost. They are divided by
    the number of states that are read. The paper divides by the longest length, which depends on padding.
    """

    def __init__(
        self, width: int, num_heads: int, dropout: float, max_states: int, use_positions: bool
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.input_norm, self.attention_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.uvqk, self.output_projection = nn.Linear(width, 4 * width), nn.Linear(width, width)
        self.relative_bias = nn.Parameter(torch.zeros(num_heads, max_states)) if use_positions else None
        self.residual_dropout = nn.Dropout(dropout)

    def forward(self, x_BSD: Tensor) -> Tensor:
        u_BSD, v_BSD, q_BSD, k_BSD = F.silu(self.uvqk(self.input_norm(x_BSD))).chunk(4, -1)
        weight_BXSS = self._pointwise_weights(q_BSD, k_BSD)
        attended_BSD = (weight_BXSS @ split_heads(v_BSD, self.num_heads)).transpose(1, 2).flatten(2)
        return x_BSD + self.residual_dropout(
            self.output_projection(self.attention_norm(attended_BSD) * u_BSD)
        )

    def attention_weights(self, x_BSD: Tensor) -> Tensor:
        """Return the sizes of the pointwise weights, with the sum 1 over the states read: [B, X, S, S]."""
        _, _, q_BSD, k_BSD = F.silu(self.uvqk(self.input_norm(x_BSD))).chunk(4, -1)
        return F.normalize(self._pointwise_weights(q_BSD, k_BSD).abs(), p=1, dim=-1)

    def _pointwise_weights(self, q_BSD: Tensor, k_BSD: Tensor) -> Tensor:
        """Return SiLU(q·k + bias of the distance) / number of states so far, [B, X, S, S].

        Future states have the weight 0. X is the number of heads.
        """
        q_BXSd, k_BXSd = split_heads(q_BSD, self.num_heads), split_heads(k_BSD, self.num_heads)
        logit_BXSS = q_BXSd @ k_BXSd.transpose(-1, -2) * q_BXSd.shape[-1] ** -0.5
        position_S = torch.arange(q_BSD.shape[1])
        distance_SS = position_S[:, None] - position_S
        if self.relative_bias is not None:
            logit_BXSS = logit_BXSS + self.relative_bias[:, distance_SS.clamp(min=0)]
        return F.silu(logit_BXSS) * (distance_SS >= 0) / (position_S[:, None] + 1)


def split_heads(x_BSD: Tensor, num_heads: int) -> Tensor:
    """Split the width among the heads: [B, X, S, D / X]."""
    return x_BSD.unflatten(-1, (num_heads, -1)).transpose(1, 2)


class AttentionEncoder(nn.Module):
    """Layers of causal attention."""

    def __init__(self, width: int, dropout: float, blocks: Iterable[TransformerBlock | HSTUBlock]) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, x_BSD: Tensor) -> Tensor:
        x_BSD = self.dropout(x_BSD)
        for block in self.blocks:
            x_BSD = block(x_BSD)
        return self.norm(x_BSD)

    def attention_rollout(self, x_BSD: Tensor) -> Tensor:
        """Return how much each state reads of each input through all layers, [B, S, S]. Rows sum to 1.

        It is the product of (A + I) / 2 over the layers, where A is the mean over the heads (attention
        rollout, Abnar & Zuidema, ACL 2020, arXiv 2005.00928).
        """
        x_BSD = self.dropout(x_BSD)
        identity_SS = torch.eye(x_BSD.shape[1])
        rollout_BSS = identity_SS.expand(len(x_BSD), -1, -1)
        for block in self.blocks:
            assert isinstance(block, TransformerBlock | HSTUBlock)
            rollout_BSS = (block.attention_weights(x_BSD).mean(1) + identity_SS) / 2 @ rollout_BSS
            x_BSD = block(x_BSD)
        return rollout_BSS


class LSTMEncoder(nn.Module):
    """Long short-term memory."""

    def __init__(self, width: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        layer_dropout = dropout if num_layers > 1 else 0.0
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(width, width, num_layers, batch_first=True, dropout=layer_dropout)
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, x_BSD: Tensor) -> Tensor:
        return self.norm(self.lstm(self.dropout(x_BSD))[0])


class MeanEncoder(nn.Module):
    """The mean of all events so far, without order. It is the control for the sequence encoders."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, x_BSD: Tensor) -> Tensor:
        count_S1 = torch.arange(1, x_BSD.shape[1] + 1).unsqueeze(1)
        mean_BSD = self.dropout(x_BSD).cumsum(1) / count_S1
        return self.norm(mean_BSD + self.feed_forward(mean_BSD))


def build_encoder(
    name: str,
    width: int,
    num_layers: int,
    num_heads: int,
    dropout: float,
    max_states: int,
    use_positions: bool,
) -> nn.Module:
    """Build the sequence encoder of this name: x_BSD -> h_BSD.

    Args:
        name: transformer, ligr, hstu, lstm or mean.
        width: D.
        num_layers: Number of layers.
        num_heads: Attention heads, for transformer, ligr and hstu.
        dropout: Dropout rate.
        max_states: The longest S.
        use_positions: Whether hstu has a bias of the distance.

    Raises:
        ValueError: The encoder is unknown, or the number of heads does not divide the width.
    """
    if name in ("transformer", "ligr", "hstu") and width % num_heads:
        raise ValueError(f"width {width} cannot be split among {num_heads} attention heads; choose a divisor")
    if name in ("transformer", "ligr"):
        block = LiGRBlock if name == "ligr" else TransformerBlock
        return AttentionEncoder(width, dropout, (block(width, num_heads, dropout) for _ in range(num_layers)))
    if name == "hstu":
        blocks = (HSTUBlock(width, num_heads, dropout, max_states, use_positions) for _ in range(num_layers))
        return AttentionEncoder(width, dropout, blocks)
    if name == "lstm":
        return LSTMEncoder(width, num_layers, dropout)
    if name == "mean":
        return MeanEncoder(width, dropout)
    raise ValueError(f"unknown encoder {name!r}; choose transformer, ligr, hstu, lstm or mean")
