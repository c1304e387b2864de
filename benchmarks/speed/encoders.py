"""Image encoders to compare: this project's and those of other libraries.

An encoder takes a batch of RGB images, each [size, size, 3] uint8, and returns unit vectors [N, F].
"""

import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models.encoders.clip import ClipImageEncoder

EncodeFunction = Callable[[Sequence[np.ndarray]], np.ndarray]
MATRIX_SIZE = 8192  # of the matrix product that measures a GPU; a quarter of it on a CPU


def random_model(name: str) -> nn.Module:
    """Return a model with random weights, the same on every call. The speed does not depend on weights."""
    torch.manual_seed(0)
    return open_clip.create_model(name, pretrained=None).eval()


def undercurrent(name: str, device: torch.device) -> EncodeFunction:
    """Return the encoder of the step `embed`, with bf16 weights."""
    return ClipImageEncoder(name, random_model(name).to(torch.bfloat16), device).encode


def open_clip_loop(name: str) -> EncodeFunction:
    """Return OpenCLIP as its README uses it: PIL images, its own transform, fp32."""
    net, _, transform = open_clip.create_model_and_transforms(name, pretrained=None)
    net.eval()

    @torch.inference_mode()
    def encode(batch: Sequence[np.ndarray]) -> np.ndarray:
        images = torch.stack([transform(Image.fromarray(image)) for image in batch])
        return F.normalize(net.encode_image(images), dim=-1).numpy()

    return encode


def torch_fp32(name: str) -> EncodeFunction:
    """Return our encoder with fp32 weights. It isolates the gain from bf16."""
    return ClipImageEncoder(name, random_model(name), torch.device("cpu")).encode


def openvino(name: str, size: int) -> EncodeFunction:
    """Return the model compiled by OpenVINO with bf16, for a fixed batch size."""
    import openvino as ov

    net: Any = random_model(name)
    program = torch.export.export(net.visual, (torch.zeros(size, 3, 224, 224),), strict=False)
    converted = ov.convert_model(program)
    hints = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = ov.compile_model(converted, "CPU", hints)
    mean, std = (np.array(values, np.float32) for values in (net.visual.image_mean, net.visual.image_std))

    def encode(batch: Sequence[np.ndarray]) -> np.ndarray:
        x = ((np.stack(batch).astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
        vectors = compiled(np.ascontiguousarray(x))[0]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return encode


def installed_contenders(name: str, size: int) -> dict[str, EncodeFunction]:
    """Return the installed encoders on the CPU. A missing library is reported on stderr.

    Args:
        name: model of OpenCLIP.
        size: batch size.
    """
    contenders_by_name = {
        "undercurrent": undercurrent(name, torch.device("cpu")),
        "torch fp32": torch_fp32(name),
        "open_clip": open_clip_loop(name),
    }
    if find_spec("openvino") is None:
        print("openvino is not installed and is left out", file=sys.stderr)
    else:
        contenders_by_name["openvino bf16"] = openvino(name, size)
    return contenders_by_name


def device_utilisation(
    name: str, device: torch.device, batch_size: int, num_calls: int = 10
) -> dict[str, float]:
    """Measure images/s from images in memory, and the utilisation of the device's bf16 rate."""
    encode = undercurrent(name, device)
    images = [np.zeros((224, 224, 3), np.uint8)] * batch_size
    torch.backends.mha.set_fastpath_enabled(False)  # the counter does not count its products
    with FlopCounterMode(display=False) as counter:
        encode(images[:1])
    torch.backends.mha.set_fastpath_enabled(True)
    encode(images)
    started = time.perf_counter()
    for _ in range(num_calls):
        encode(images)
    rate = num_calls * batch_size / (time.perf_counter() - started)
    return {
        "images_per_s": round(rate, 1),
        "bf16_utilisation": round(rate * counter.get_total_flops() / bf16_flops(device), 3),
    }


def bf16_flops(device: torch.device, num_calls: int = 10) -> float:
    """Measure FLOP/s of a product of large square matrices, the best of `num_calls`."""
    size = MATRIX_SIZE if device.type == "cuda" else MATRIX_SIZE // 4
    a, b = (torch.randn(size, size, device=device).to(torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(num_calls + 1):  # the first is the warm-up
        started = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for the GPU
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
