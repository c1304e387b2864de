"""What our training gets out of a GPU: tokens/s, and the share of the bf16 rate of a large product."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.sasrec import contender
from benchmarks.sasrec.synthetic import sequences

WIDTH, LAYERS, HEADS, NEGATIVES, BATCH = 256, 4, 4, 8192, 1024
SIDE, TIMES = 8192, 50  # of the matrices that tell what the chip can


def gpu(_: object) -> tuple[dict[str, Any], dict[str, float]]:
    """Width 256, 4 layers, 8 k shared negatives, in bf16; says so where there is no GPU."""
    if not torch.cuda.is_available():
        print("no GPU is at hand: nothing is measured on one", file=sys.stderr)
        return {"device": "none at hand"}, {}
    from benchmarks.sasrec.with_ours import Ours

    data = sequences(64 * BATCH, 100_000, 1)
    ours = Ours(data, contender.Options(True, 1, Path()), width=WIDTH, layers=LAYERS, heads=HEADS)
    ours.params = replace(ours.params, negatives=NEGATIVES, batch_size=BATCH, device="cuda")
    with FlopCounterMode(display=False) as counter:
        ours.fit(1, contender.Clock())
    clock = contender.Clock()
    ours.fit(3, clock)
    seconds = clock.seconds[-1]
    rate, peak = counter.get_total_flops() / seconds, bf16_rate()
    figures = {
        "device": torch.cuda.get_device_name(),
        "tokens_per_s": round(len(data.items) / seconds),
        "tflop_per_s": round(rate / 1e12, 1),
        "bf16_tflop_per_s": round(peak / 1e12, 1),
    }
    return figures, {"share_of_bf16_rate": round(rate / peak, 3)}


def bf16_rate() -> float:
    """FLOP/s of a large matrix product."""
    a, b = torch.randn(2, SIDE, SIDE, device="cuda", dtype=torch.bfloat16)
    for times in (3, TIMES):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(times):
            a @ b
        torch.cuda.synchronize()
    return 2 * SIDE**3 * TIMES / (time.perf_counter() - started)
