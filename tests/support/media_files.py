"""Tiny media files for tests, written by PyAV."""

import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

Colour = tuple[int, int, int]
RED, GREEN, BLUE = (220, 20, 20), (20, 200, 20), (20, 20, 220)


def plain(colour: Colour, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def by_time(seconds: float) -> np.ndarray:
    """A grey whose level is ten times the second it is shown at."""
    return plain((round(seconds * 10),) * 3)


def write_video(
    path: Path,
    seconds: float = 2.0,
    rate: int = 10,
    picture: Callable[[float], np.ndarray] | None = by_time,
    hertz: float | None = 440.0,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    tags: Mapping[str, Any] | None = None,
    options: Mapping[str, str] | None = None,
    sound_start: float = 0.0,
) -> Path:
    """A video of pictures (None: none) and a tone (None: silent, no stream)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=dict(options or {})) as file:
        video = audio = None
        if picture is not None:
            height, width, _ = picture(0.0).shape
            video = file.add_stream(codec, rate=rate)
            video.width, video.height, video.pix_fmt = width, height, pixels
            for name, value in (tags or {}).items():
                setattr(video.codec_context, name, value)
        if hertz is not None:
            audio = file.add_stream("aac", rate=44_100, layout="stereo")
        if video is not None and picture is not None:
            times = [n / rate for n in range(round(seconds * rate))]
            _pictures(file, video, [(t, picture(t)) for t in times], pixels)
        if audio is not None and hertz is not None:
            _tone(file, audio, hertz, seconds - sound_start, sound_start)
    return path


def write_flashes(
    path: Path, flashes: Sequence[float], clicks: Sequence[float], seconds: float = 10.0, rate: int = 25
) -> Path:
    """A picture that turns black or white at each flash, and a sound that clicks; faint noise in both."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    samples = 0.0001 * generator.normal(size=round(seconds * 44_100))
    for click in clicks:
        first = round(click * 44_100)
        burst = samples[first : first + 2000]
        burst += generator.normal(size=len(burst)) * np.exp(-np.arange(len(burst)) / 400) * 0.3
    pictures = []
    for n in range(round(seconds * rate)):
        white = sum(flash <= n / rate + 1e-6 for flash in flashes) % 2
        noisy = plain((200 * white + 20,) * 3) + generator.integers(0, 4, (48, 64, 3))
        pictures.append((n / rate, noisy.astype(np.uint8)))
    with av.open(str(path), "w") as file:
        video, audio = (
            file.add_stream("libx264", rate=rate),
            file.add_stream("aac", rate=44_100, layout="stereo"),
        )
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        _pictures(file, video, pictures, "yuv420p")
        _sound(file, audio, samples, 0.0)
    return path


def write_slides(path: Path, slides: Sequence[tuple[float, np.ndarray]]) -> Path:
    """Pictures that begin at irregular times."""
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=10, options={"bf": "0"})
        video.height, video.width, _ = slides[0][1].shape
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        _pictures(file, video, slides, "yuv420p")
    return path


def rotate(path: Path, degrees_clockwise: int) -> Path:
    """Write a rotation into the track header of an mp4 that has one track, as phones do."""
    a, b = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees_clockwise]
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(
        ">9i", a << 16, b << 16, 0, -b << 16, a << 16, 0, 0, 0, 1 << 30
    )
    path.write_bytes(content)
    return path


def _pictures(
    file: av.container.OutputContainer,
    stream: av.VideoStream,
    timed: Sequence[tuple[float, np.ndarray]],
    pixels: str,
) -> None:
    for time, rgb in timed:
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixels)
        frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))


def _tone(
    file: av.container.OutputContainer, stream: av.AudioStream, hertz: float, seconds: float, start: float
) -> None:
    _sound(file, stream, 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * 44_100)) / 44_100), start)


def _sound(
    file: av.container.OutputContainer, stream: av.AudioStream, samples: np.ndarray, start: float
) -> None:
    both = np.ascontiguousarray(np.stack([samples, samples]).astype(np.float32))
    for first in range(0, both.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(
            both[:, first : first + 1024].copy(), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.time_base = 44_100, Fraction(1, 44_100)
        frame.pts = first + round(start * 44_100)
        file.mux(stream.encode(frame))
    file.mux(stream.encode(None))
