"""Frames of a video: each topic has its own colours, texture and motion."""

from collections.abc import Callable, Iterator

import numpy as np

from world.catalogue import SEGMENT_SECONDS, Video
from world.seeds import rng
from world.topics import TOPICS

WIDTH, HEIGHT, FRAMES_PER_SECOND = 144, 256, 10
GRAIN = 0.02
TAU = 2 * np.pi

Plane = np.ndarray  # [H, W] float32
Texture = Callable[[Plane, Plane, float], Plane]
Motion = Callable[[Plane, Plane, float], tuple[Plane, Plane]]


def frames(video: Video, seed: int) -> Iterator[np.ndarray]:
    """The video's frames [H, W, 3] uint8, RGB. An appealing segment is more vivid and moves faster."""
    random = rng(seed, "pictures", video.video_id)
    scale, tilt = random.uniform(0.8, 1.25), random.uniform(-0.25, 0.25)
    shade = random.normal(scale=12, size=3)
    x, y = _plane(scale, tilt)
    grain = random.normal(scale=GRAIN, size=(2, HEIGHT, WIDTH)).astype(np.float32)
    phase = float(random.uniform(0, 10))
    for number in range(frame_count(video)):
        segment = number // (FRAMES_PER_SECOND * SEGMENT_SECONDS)
        vivid = vividness(video.appeal[segment])
        phase += (0.5 + vivid) / FRAMES_PER_SECOND
        yield _frame(video.segment_topics[segment], x, y, phase, vivid, shade, grain[number % 2])


def frame_count(video: Video) -> int:
    """Frames of the whole video."""
    return video.duration_ms * FRAMES_PER_SECOND // 1000


def vividness(appeal: float) -> float:
    """Appeal (standard normal) → how vivid and loud a segment is, between 0 and 1."""
    return float(1 / (1 + np.exp(-appeal)))


def _plane(scale: float, tilt: float) -> tuple[Plane, Plane]:
    """Coordinates of the pixels: the width is 1, the middle is (0, 0)."""
    ys, xs = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    x, y = (xs - WIDTH / 2) / WIDTH * scale, (ys - HEIGHT / 2) / WIDTH * scale
    return x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)


def _frame(
    topic: int, x: Plane, y: Plane, phase: float, vivid: float, shade: np.ndarray, grain: np.ndarray
) -> np.ndarray:
    look = TOPICS[topic].look
    value = TEXTURES[look.texture](*MOTIONS[look.motion](x, y, phase), phase) + grain
    colours = _colours(np.array(look.dark), np.array(look.light), 0.5 + 0.5 * vivid, shade)
    return colours[np.clip(value * 255, 0, 255).astype(np.uint8)]


def _colours(dark: np.ndarray, light: np.ndarray, contrast: float, shade: np.ndarray) -> np.ndarray:
    """The colour of each of 256 values between dark and light [256, 3] uint8."""
    mixed = 0.5 + contrast * (np.linspace(0, 1, 256)[:, None] - 0.5)
    return np.clip(dark + (light - dark) * mixed + shade, 0, 255).astype(np.uint8)


def _wave(value: Plane) -> Plane:
    """A sine between 0 and 1 with period 1."""
    return 0.5 + 0.5 * np.sin(TAU * value)


def _hard(value: Plane) -> Plane:
    """Black and white instead of grey."""
    return np.clip((value - 0.5) * 8 + 0.5, 0, 1)


def _radius(x: Plane, y: Plane) -> Plane:
    return np.hypot(x, y)


def _angle(x: Plane, y: Plane) -> Plane:
    return np.arctan2(y, x) / TAU


TEXTURES: dict[str, Texture] = {
    "stripes": lambda x, y, t: _hard(_wave(4 * y)),
    "chevrons": lambda x, y, t: _hard(_wave(4 * (y + np.abs(x)))),
    "grid": lambda x, y, t: np.maximum(_hard(_wave(6 * x) ** 6), _hard(_wave(6 * y) ** 6)),
    "checks": lambda x, y, t: _hard(0.5 + 0.5 * np.sin(TAU * 3 * x) * np.sin(TAU * 3 * y) * 4),
    "diamonds": lambda x, y, t: _hard(0.5 + np.sin(TAU * 2 * (x + y)) * np.sin(TAU * 2 * (x - y))),
    "dots": lambda x, y, t: _hard((_wave(5 * x) * _wave(5 * y)) ** 2 * 1.4),
    "rings": lambda x, y, t: _wave(5 * _radius(x, y)),
    "rays": lambda x, y, t: _hard(_wave(8 * _angle(x, y))),
    "spiral": lambda x, y, t: _wave(3 * _angle(x, y) + 4 * _radius(x, y)),
    "waves": lambda x, y, t: _wave(3 * y + 0.3 * np.sin(TAU * 2 * x + t)),
    "gradient": lambda x, y, t: np.clip(0.5 + 0.5 * y + 0.1 * np.sin(TAU * x), 0, 1),
    "blobs": lambda x, y, t: _wave(0.6 * (np.sin(7 * x + t) + np.sin(5 * y - t) + np.sin(6 * (x + y)))),
}

MOTIONS: dict[str, Motion] = {
    "pan": lambda x, y, t: (x + 0.2 * t, y + 0.05 * np.sin(t)),
    "climb": lambda x, y, t: (x, y + 0.25 * t),
    "sway": lambda x, y, t: (x + 0.15 * np.sin(2 * t), y),
    "bounce": lambda x, y, t: (x, y + 0.2 * np.abs(np.sin(3 * t))),
    "pulse": lambda x, y, t: (x * (1 + 0.25 * np.sin(4 * t)), y * (1 + 0.25 * np.sin(4 * t))),
    "zoom": lambda x, y, t: (x * (1.3 - 0.6 * (t % 1)), y * (1.3 - 0.6 * (t % 1))),
    "spin": lambda x, y, t: (x * np.cos(t) - y * np.sin(t), x * np.sin(t) + y * np.cos(t)),
}
