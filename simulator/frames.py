"""Render the frames of a video. Each topic has its own colours, texture and motion."""

from collections.abc import Callable, Iterator

import numpy as np

from simulator.catalogue import SEGMENT_SECONDS, SimulatedVideo
from simulator.seeds import make_rng
from simulator.topics import TOPICS

WIDTH, HEIGHT, FRAMES_PER_SECOND = 144, 256, 10
GRAIN = 0.02
TAU = 2 * np.pi

ImagePlane = np.ndarray  # [height, width], float32
Texture = Callable[[ImagePlane, ImagePlane, float], ImagePlane]
Motion = Callable[[ImagePlane, ImagePlane, float], tuple[ImagePlane, ImagePlane]]


def render_frames(video: SimulatedVideo, seed: int) -> Iterator[np.ndarray]:
    """Yield the frames of a video, [height, width, 3] uint8, RGB.

    A more appealing segment is more vivid and moves faster.
    """
    random = make_rng(seed, "pictures", video.video_id)
    scale, tilt = random.uniform(0.8, 1.25), random.uniform(-0.25, 0.25)
    shade = random.normal(scale=12, size=3)
    x, y = _pixel_coordinates(scale, tilt)
    grain = random.normal(scale=GRAIN, size=(2, HEIGHT, WIDTH)).astype(np.float32)
    phase = float(random.uniform(0, 10))
    for number in range(frame_count(video)):
        segment = number // (FRAMES_PER_SECOND * SEGMENT_SECONDS)
        segment_vividness = vividness(video.segment_appeal[segment])
        phase += (0.5 + segment_vividness) / FRAMES_PER_SECOND
        yield _render_frame(
            video.segment_topics[segment], x, y, phase, segment_vividness, shade, grain[number % 2]
        )


def frame_count(video: SimulatedVideo) -> int:
    """Return the number of frames of a video."""
    return video.duration_ms * FRAMES_PER_SECOND // 1000


def vividness(appeal: float) -> float:
    """Map the appeal of a segment to how vivid and loud it is, between 0 and 1."""
    return float(1 / (1 + np.exp(-appeal)))


def _pixel_coordinates(scale: float, tilt: float) -> tuple[ImagePlane, ImagePlane]:
    """Return the coordinates of the pixels. Before scaling the width is 1; the centre is (0, 0)."""
    ys, xs = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    x, y = (xs - WIDTH / 2) / WIDTH * scale, (ys - HEIGHT / 2) / WIDTH * scale
    return x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)


def _render_frame(
    topic: int,
    x: ImagePlane,
    y: ImagePlane,
    phase: float,
    segment_vividness: float,
    shade: np.ndarray,
    grain: np.ndarray,
) -> np.ndarray:
    style = TOPICS[topic].visual_style
    value = TEXTURES[style.texture](*MOTIONS[style.motion](x, y, phase), phase) + grain
    colours = _palette(np.array(style.dark), np.array(style.light), 0.5 + 0.5 * segment_vividness, shade)
    return colours[np.clip(value * 255, 0, 255).astype(np.uint8)]


def _palette(dark: np.ndarray, light: np.ndarray, contrast: float, shade: np.ndarray) -> np.ndarray:
    """Return 256 colours from dark to light, [256, 3] uint8."""
    mixed = 0.5 + contrast * (np.linspace(0, 1, 256)[:, None] - 0.5)
    return np.clip(dark + (light - dark) * mixed + shade, 0, 255).astype(np.uint8)


def _wave(value: ImagePlane) -> ImagePlane:
    """Return a sine between 0 and 1 with period 1."""
    return 0.5 + 0.5 * np.sin(TAU * value)


def _sharpen(value: ImagePlane) -> ImagePlane:
    """Raise the contrast to nearly black and white."""
    return np.clip((value - 0.5) * 8 + 0.5, 0, 1)


def _radius(x: ImagePlane, y: ImagePlane) -> ImagePlane:
    return np.hypot(x, y)


def _angle(x: ImagePlane, y: ImagePlane) -> ImagePlane:
    return np.arctan2(y, x) / TAU


TEXTURES: dict[str, Texture] = {
    "stripes": lambda x, y, t: _sharpen(_wave(4 * y)),
    "chevrons": lambda x, y, t: _sharpen(_wave(4 * (y + np.abs(x)))),
    "grid": lambda x, y, t: np.maximum(_sharpen(_wave(6 * x) ** 6), _sharpen(_wave(6 * y) ** 6)),
    "checks": lambda x, y, t: _sharpen(0.5 + 0.5 * np.sin(TAU * 3 * x) * np.sin(TAU * 3 * y) * 4),
    "diamonds": lambda x, y, t: _sharpen(0.5 + np.sin(TAU * 2 * (x + y)) * np.sin(TAU * 2 * (x - y))),
    "dots": lambda x, y, t: _sharpen((_wave(5 * x) * _wave(5 * y)) ** 2 * 1.4),
    "rings": lambda x, y, t: _wave(5 * _radius(x, y)),
    "rays": lambda x, y, t: _sharpen(_wave(8 * _angle(x, y))),
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
