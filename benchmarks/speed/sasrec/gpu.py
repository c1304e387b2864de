"""Measure training on a GPU: events/s, and the utilisation of its bf16 rate."""

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.speed.sasrec import contender
from benchmarks.speed.sasrec.synthetic import MEAN_TARGETS, make_sequences
from benchmarks.speed.sasrec.with_undercurrent import Undercurrent
from core.schema import replace_nested

WIDTH, LAYERS, HEADS, NUM_NEGATIVES = 256, 4, 4, 8192
EVENTS_PER_STEP, STEPS, EPOCHS = 8192 * contender.MAX_LENGTH, 16, 5  # STEPS is per epoch
NUM_ITEMS = 100_000
# Mean number of targets of a user. With `full`, nearly all sequences have MAX_LENGTH events.
MEAN_TARGETS_BY_LENGTH = {"short": MEAN_TARGETS, "full": 10 * contender.MAX_LENGTH}
MATRIX_SIZE, NUM_PRODUCTS = 8192, 50  # the matrix products that measure the device


def benchmark_gpu(_: object) -> tuple[dict[str, Any], dict[str, float]]:
    """Measure width 256, 4 layers and 8,192 shared negatives in bf16.

    Sequences are once as short as in the other parts, and once as long as the model can read. Without a GPU
    nothing is measured.
    """
    if not torch.cuda.is_available():
        print("no GPU available; the part gpu is left out", file=sys.stderr)
        return {"device": "none"}, {}
    peak = bf16_flops()
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "bf16_tflop_per_s": round(peak / 1e12, 1),
    }
    ratios = {}
    for name, mean_targets in MEAN_TARGETS_BY_LENGTH.items():
        rate = measure_events_per_s(mean_targets)
        figures[f"events_per_s_{name}"] = round(rate)
        ratios[f"bf16_utilisation_{name}"] = round(rate * flops_per_event() / peak, 3)
    return figures, ratios


def measure_events_per_s(mean_targets: float) -> float:
    """Measure events/s of whole epochs: the first is the warm-up, the median of the others is returned.

    Batches have a fixed number of users. With a fixed number of events, short sequences would give more users
    than the 65,535 that attention kernels accept.
    """
    batch = round(EVENTS_PER_STEP / min(mean_targets + 1, contender.MAX_LENGTH))
    data = make_sequences(STEPS * batch, NUM_ITEMS, 1, mean_targets)
    contender_model = Undercurrent(
        data, contender.Options(True, 1, Path()), width=WIDTH, layers=LAYERS, heads=HEADS
    )
    contender_model.params = replace_nested(
        contender_model.params,
        {
            "model.objective.num_negatives": NUM_NEGATIVES,
            "batch_size": batch,
            "batch_by": "users",
            "device": "cuda",
            "precision": "bf16",
        },
    )
    timer = contender.EpochTimer()
    contender_model.fit(1 + EPOCHS, timer)
    num_events = np.minimum(np.diff(data.offsets), contender.MAX_LENGTH).sum()
    return float(num_events) / statistics.median(timer.seconds[1:])


def flops_per_event() -> int:
    """Return the FLOP per event that every implementation needs: products of layers and softmax, both passes.

    Attention, the gate and padding are not counted, so the utilisation is a lower bound.
    """
    return 6 * (LAYERS * 12 * WIDTH**2 + NUM_NEGATIVES * WIDTH)


def bf16_flops() -> float:
    """Measure FLOP/s of a large matrix product."""
    a, b = torch.randn(2, MATRIX_SIZE, MATRIX_SIZE, device="cuda", dtype=torch.bfloat16)
    for times in (3, NUM_PRODUCTS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(times):
            a @ b
        torch.cuda.synchronize()
    return 2 * MATRIX_SIZE**3 * NUM_PRODUCTS / (time.perf_counter() - started)
