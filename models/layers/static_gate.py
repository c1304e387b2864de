"""The static gate, equation (4): it combines user state and profile."""

import torch
from torch import Tensor, nn

GATE_INIT_SCALE = 0.1  # initial size of the gate's weights, relative to torch's default


class StaticGate(nn.Module):
    """Equation (4) with a bypass: z = ReLU(W_c [Δh ; s] + b) + a ⊙ Δh, with Δh = h − h₀.

    h₀ is the state of an empty sequence. So users without interactions differ by their profile only. Without
    the subtraction all of them would start with the same random taste. The bypass carries the sequence around
    a ReLU that starts near 0. Without it learning is an order of magnitude slower
    (docs/experiments/2026-11-21-static-gate-bypass.md).

    Args:
        width: D.
        skip_init: Initial a.
    """

    def __init__(self, width: int, skip_init: float) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width, width)
        self.skip_weight = nn.Parameter(torch.full((width,), skip_init))
        with torch.no_grad():  # near z = 0 the softmax is popularity (`ItemFusion.init_from_statistics`)
            self.linear.weight.mul_(GATE_INIT_SCALE)
            self.linear.bias.fill_(GATE_INIT_SCALE**2)

    def forward(self, h_XBSD: Tensor, s_BD: Tensor) -> Tensor:
        """Return z_XBSD. State 0 is the one of the empty sequence.

        Args:
            h_XBSD: User states of X sequences for each user.
            s_BD: Profile vectors.
        """
        delta_h_XBSD = h_XBSD - h_XBSD[:, :, :1]
        s_XBSD = s_BD.unsqueeze(1).expand_as(h_XBSD)
        return (
            torch.relu(self.linear(torch.cat([delta_h_XBSD, s_XBSD], -1))) + self.skip_weight * delta_h_XBSD
        )
