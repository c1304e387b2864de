"""What our training gets out of a GPU: events/s, and the share of the bf16 rate of a large product."""

import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.sasrec import contender
from benchmarks.sasrec.synthetic import MEAN_TARGETS, sequences
from benchmarks.sasrec.with_ours import Ours

WIDTH, LAYERS, HEADS, NEGATIVES = 256, 4, 4, 8192
EVENTS, STEPS, EPOCHS = 8192 * contender.LENGTH, 16, 5  # events of a step; steps of an epoch
CATALOGUE = 100_000
HISTORIES = {"short": MEAN_TARGETS, "full": 10 * contender.LENGTH}  # mean targets; `full`: nearly all cut
SIDE, TIMES = 8192, 50  # of the matrices that tell what the chip can


def gpu(_: object) -> tuple[dict[str, Any], dict[str, float]]:
    """Width 256, 4 layers, 8 k shared negatives, in bf16; says so where there is no GPU.

    Once with histories as short as in the other parts, and once with histories as long as a model reads.
    """
    if not torch.cuda.is_available():
        print("no GPU is at hand: nothing is measured on one", file=sys.stderr)
        return {"device": "none at hand"}, {}
    peak = bf16_rate()
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "bf16_tflop_per_s": round(peak / 1e12, 1),
    }
    ratios = {}
    for name, mean_targets in HISTORIES.items():
        rate = events_per_s(mean_targets)
        figures[f"events_per_s_{name}"] = round(rate)
        ratios[f"share_of_bf16_rate_{name}"] = round(rate * needed_flop() / peak, 3)
    return figures, ratios


def events_per_s(mean_targets: float) -> float:
    """Events read a second of whole epochs: the first warms up, the median of the others counts.

    Batches are of as many people: attention's kernels take no more than 65,535 of them, and in one of as many
    events there would be more where histories are short.
    """
    batch = round(EVENTS / min(mean_targets + 1, contender.LENGTH))
    data = sequences(STEPS * batch, CATALOGUE, 1, mean_targets)
    ours = Ours(data, contender.Options(True, 1, Path()), width=WIDTH, layers=LAYERS, heads=HEADS)
    ours.params = replace(
        ours.params,
        negatives=NEGATIVES,
        batch_size=batch,
        batch_of="people",
        device="cuda",
        precision="bf16",
    )
    clock = contender.Clock()
    ours.fit(1 + EPOCHS, clock)
    read = np.minimum(np.diff(data.offsets), contender.LENGTH).sum()
    return float(read) / statistics.median(clock.seconds[1:])


def needed_flop() -> int:
    """FLOP that no implementation can save, an event: the layers' products and the softmax's, there and back.

    What attention, the gate and padding cost is not counted in our favour.
    """
    return 6 * (LAYERS * 12 * WIDTH**2 + NEGATIVES * WIDTH)


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
