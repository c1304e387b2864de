"""What was watched, what was done and when, read from oldest to newest: equation (3).

Legend: B users, T events, S = T + 1 states (state 0 knows nothing, state i has read i events), D width,
A behaviours, H heads, N events in any shape. Every encoder is causal: state i depends on events before i
only, so that padding on the right cannot reach a state that is used. None ends in a bias: what is read of a
state is how it differs from state 0 (models/interest.py, StaticGate).
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from models.histories import GAP_BUCKETS, HOURS, Batch


class EventEmbedding(nn.Module):
    """What the person did (`actions`), the hour and other contexts; with `positions` also order and gaps.

    `contexts`: how many known values each has.
    """

    def __init__(
        self, width: int, behaviours: int, max_length: int, positions: bool, contexts: Sequence[int]
    ) -> None:
        super().__init__()
        self.action = nn.Linear(action_width(behaviours), width)
        self.hour = nn.Embedding(HOURS, width)
        self.contexts = nn.ModuleList(nn.Embedding(size + 1, width, padding_idx=0) for size in contexts)
        self.start = nn.Parameter(torch.zeros(width))
        self.gap = nn.Embedding(GAP_BUCKETS, width) if positions else None
        self.position = nn.Embedding(max_length + 1, width) if positions else None
        nn.init.zeros_(self.action.bias)
        for table in (self.action, self.hour, self.gap, self.position, *self.contexts):
            if table is not None:  # small beside the video: what is the same at all events would drown it
                nn.init.normal_(table.weight, std=0.02)

    def actions(self, batch: Batch) -> Tensor:
        """What was done, as numbers [B, T, A + 4]: behaviours; watched share and sentiment, each with whether
        it is known."""
        pairs = (
            (batch.ratio_BT, batch.ratio_known_BT),
            (batch.sentiment_BT, batch.sentiment_known_BT),
        )
        numbers = [number_BT for value_BT, known_BT in pairs for number_BT in (value_BT * known_BT, known_BT)]
        return torch.cat([batch.did_BTA.float(), torch.stack(numbers, 2)], 2)

    def forward(self, fused_BTD: Tensor, batch: Batch) -> Tensor:
        """The encoder's input [B, S, D]: a start token, then one vector an event."""
        x_BTD = fused_BTD + self.action(self.actions(batch)) + self.hour(batch.hour_BT)
        for context, code_BT in zip(self.contexts, batch.context_BTC.unbind(2), strict=True):
            x_BTD = x_BTD + context(code_BT)
        if self.gap is not None:
            x_BTD = x_BTD + self.gap(batch.gap_BT)
        start_B1D = self.start.expand(len(x_BTD), 1, -1)
        x_BSD = torch.cat([start_B1D, x_BTD * batch.mask_BT.unsqueeze(2)], 1)
        if self.position is not None:
            x_BSD = x_BSD + self.position.weight[: x_BSD.shape[1]]
        return x_BSD


def action_width(behaviours: int) -> int:
    """Numbers that say what was done at an event."""
    return behaviours + 4


class Block(nn.Module):
    """One pre-norm Transformer layer with causal attention."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, x_BSD: Tensor) -> Tensor:
        q, k, v = self._split(x_BSD)
        rate = self.dropout if self.training else 0.0
        mixed_BHSK = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=rate)
        x_BSD = x_BSD + self.drop(self.out(mixed_BHSK.transpose(1, 2).flatten(2)))
        return x_BSD + self.drop(self.feed(self.after(x_BSD)))

    def attention(self, x_BSD: Tensor) -> Tensor:
        """The attention weights [B, S, S] of the layer, mean over heads, as `forward` applies them."""
        q, k, _ = self._split(x_BSD)
        logits_BHSS = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        future_SS = torch.ones(logits_BHSS.shape[-2:], dtype=torch.bool).triu(1)
        return torch.softmax(logits_BHSS.masked_fill(future_SS, -torch.inf), -1).mean(1)

    def _split(self, x_BSD: Tensor) -> list[Tensor]:
        """Queries, keys and values, each [B, H, S, D / H]."""
        return [split_heads(part, self.heads) for part in self.qkv(self.before(x_BSD)).chunk(3, -1)]


class HSTUBlock(nn.Module):
    """One layer of HSTU (arXiv 2402.17152, equations 1 to 3): pointwise attention, gated by what reads it.

    The weights are SiLU and no softmax, so that how much was seen of a kind is not lost. They are divided by
    the number of states looked at, where the paper divides by the longest length: padding cannot matter.
    """

    def __init__(self, width: int, heads: int, dropout: float, states: int, positions: bool) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.mixed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.uvqk, self.out = nn.Linear(width, 4 * width), nn.Linear(width, width)
        self.distance = nn.Parameter(torch.zeros(heads, states)) if positions else None
        self.drop = nn.Dropout(dropout)

    def forward(self, x_BSD: Tensor) -> Tensor:
        u_BSD, v_BSD, q_BSD, k_BSD = F.silu(self.uvqk(self.before(x_BSD))).chunk(4, -1)
        weight_BHSS = self._weights(q_BSD, k_BSD)
        mixed_BSD = (weight_BHSS @ split_heads(v_BSD, self.heads)).transpose(1, 2).flatten(2)
        return x_BSD + self.drop(self.out(self.mixed(mixed_BSD) * u_BSD))

    def attention(self, x_BSD: Tensor) -> Tensor:
        """Each state's share of the weights' size [B, S, S], mean over heads."""
        _, _, q_BSD, k_BSD = F.silu(self.uvqk(self.before(x_BSD))).chunk(4, -1)
        size_BHSS = self._weights(q_BSD, k_BSD).abs()
        return (size_BHSS / size_BHSS.sum(-1, keepdim=True).clamp(min=1e-9)).mean(1)

    def _weights(self, q_BSD: Tensor, k_BSD: Tensor) -> Tensor:
        """[B, H, S, S]: SiLU(q·k + bias of the distance) / number of states so far; nothing of the future."""
        q_BHSK, k_BHSK = split_heads(q_BSD, self.heads), split_heads(k_BSD, self.heads)
        logit_BHSS = q_BHSK @ k_BHSK.transpose(-1, -2) * q_BHSK.shape[-1] ** -0.5
        step_S = torch.arange(q_BSD.shape[1])
        back_SS = step_S[:, None] - step_S
        if self.distance is not None:
            logit_BHSS = logit_BHSS + self.distance[:, back_SS.clamp(min=0)]
        return F.silu(logit_BHSS) * (back_SS >= 0) / (step_S[:, None] + 1)


def split_heads(x_BSD: Tensor, heads: int) -> Tensor:
    """[B, H, S, D / H]."""
    return x_BSD.unflatten(-1, (heads, -1)).transpose(1, 2)


class BlocksEncoder(nn.Module):
    """Layers of causal attention: what was watched long ago and what just now may meet directly."""

    def __init__(self, width: int, dropout: float, blocks: Iterable[Block | HSTUBlock]) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, x_BSD: Tensor) -> Tensor:
        x_BSD = self.drop(x_BSD)
        for block in self.blocks:
            x_BSD = block(x_BSD)
        return self.norm(x_BSD)

    def attention(self, x_BSD: Tensor) -> Tensor:
        """How much each state looks at each position in the last layer: [B, S, S]."""
        for block in self.blocks[:-1]:
            x_BSD = block(x_BSD)
        last = self.blocks[-1]
        assert isinstance(last, Block | HSTUBlock)
        return last.attention(x_BSD)


class LSTMEncoder(nn.Module):
    """Long short-term memory."""

    def __init__(self, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.drop = nn.Dropout(dropout)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, dropout=between)
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, x_BSD: Tensor) -> Tensor:
        return self.norm(self.lstm(self.drop(x_BSD))[0])

    def attention(self, x_BSD: Tensor) -> None:
        """An LSTM does not say what it looks at."""


class MeanEncoder(nn.Module):
    """The mean of everything so far: interest without order. The control for the sequence."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, x_BSD: Tensor) -> Tensor:
        count_S1 = torch.arange(1, x_BSD.shape[1] + 1).unsqueeze(1)
        mean_BSD = self.drop(x_BSD).cumsum(1) / count_S1
        return self.norm(mean_BSD + self.feed(mean_BSD))

    def attention(self, x_BSD: Tensor) -> Tensor:
        """Every position so far counts the same."""
        B, S, _ = x_BSD.shape
        even_SS = torch.ones(S, S).tril() / torch.arange(1, S + 1).unsqueeze(1)
        return even_SS.expand(B, S, S)


def build_encoder(
    name: str, width: int, layers: int, heads: int, dropout: float, states: int, positions: bool
) -> nn.Module:
    """The encoder of that name: x_BSD -> h_BSD, for at most `states` states.

    Raises:
        ValueError: no such encoder, or a width that the heads do not divide.
    """
    if name in ("transformer", "hstu") and width % heads:
        raise ValueError(f"width {width} cannot be split among {heads} attention heads; choose a divisor")
    if name == "transformer":
        return BlocksEncoder(width, dropout, (Block(width, heads, dropout) for _ in range(layers)))
    if name == "hstu":
        blocks = (HSTUBlock(width, heads, dropout, states, positions) for _ in range(layers))
        return BlocksEncoder(width, dropout, blocks)
    if name == "lstm":
        return LSTMEncoder(width, layers, dropout)
    if name == "mean":
        return MeanEncoder(width, dropout)
    raise ValueError(f"unknown encoder {name!r}: choose transformer, hstu, lstm or mean")
