"""Encoding pictures as others do it: a batch of RGB pictures [S, S, 3] uint8 -> unit vectors [B, D]."""

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

from models.encoders import ImageEncoder

Encode = Callable[[Sequence[np.ndarray]], np.ndarray]
SIDE = 8192  # of the matrices that tell what a GPU can; 2048 on a CPU


def model(name: str) -> nn.Module:
    """A model with random weights: how fast it is does not depend on them. The same ones every time."""
    torch.manual_seed(0)
    return open_clip.create_model(name, pretrained=None).eval()


def ours(name: str, device: torch.device) -> Encode:
    return ImageEncoder(name, model(name).to(torch.bfloat16), device).encode


def open_clip_loop(name: str) -> Encode:
    """As its README does it: PIL, its own transform, fp32."""
    net, _, transform = open_clip.create_model_and_transforms(name, pretrained=None)
    net.eval()

    @torch.inference_mode()
    def encode(batch: Sequence[np.ndarray]) -> np.ndarray:
        images = torch.stack([transform(Image.fromarray(picture)) for picture in batch])
        return F.normalize(net.encode_image(images), dim=-1).numpy()

    return encode


def torch_fp32(name: str) -> Encode:
    """Ours with fp32 weights: what the precision alone gains."""
    return ImageEncoder(name, model(name), torch.device("cpu")).encode


def openvino(name: str, size: int) -> Encode:
    import openvino as ov

    net: Any = model(name)
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


def contenders(name: str, size: int) -> dict[str, Encode]:
    """Those at hand on the CPU, ours first; says which are not installed."""
    made = {
        "ours": ours(name, torch.device("cpu")),
        "torch fp32": torch_fp32(name),
        "open_clip": open_clip_loop(name),
    }
    if find_spec("openvino") is None:
        print("openvino is not installed and not measured", file=sys.stderr)
    else:
        made["openvino bf16"] = openvino(name, size)
    return made


def of_the_chip(name: str, device: torch.device, batch: int, calls: int = 10) -> dict[str, float]:
    """Images/s of ours from pictures in memory, and its share of the bf16 rate measured on this device."""
    encode, pictures = ours(name, device), [np.zeros((224, 224, 3), np.uint8)] * batch
    torch.backends.mha.set_fastpath_enabled(False)  # whose products the counter does not know
    with FlopCounterMode(display=False) as counter:
        encode(pictures[:1])
    torch.backends.mha.set_fastpath_enabled(True)
    encode(pictures)
    started = time.perf_counter()
    for _ in range(calls):
        encode(pictures)
    rate = calls * batch / (time.perf_counter() - started)
    return {
        "images_per_s": round(rate, 1),
        "share_of_bf16_rate": round(rate * counter.get_total_flops() / bf16_rate(device), 3),
    }


def bf16_rate(device: torch.device, calls: int = 10) -> float:
    """FLOP/s of a product of large square matrices, the best of `calls`."""
    side = SIDE if device.type == "cuda" else SIDE // 4
    a, b = (torch.randn(side, side, device=device).to(torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(calls + 1):  # the first warms up and is rarely the best
        started = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for the GPU
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best
