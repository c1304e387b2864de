"""Real media files: vertical mp4 with H.264 and AAC, labelled as synthetic; and some that cannot be read."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import partial
from heapq import merge
from operator import itemgetter
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer
from tqdm import tqdm

from world.catalogue import Video
from world.pictures import FRAMES_PER_SECOND, HEIGHT, WIDTH, frames
from world.seeds import rng
from world.sounds import SAMPLE_RATE, sound

LABEL = "SYNTHETIC: rendered by python -m world; no real person or place is shown"
X264 = {"preset": "superfast", "crf": "27", "threads": "1", "g": str(2 * FRAMES_PER_SECOND)}
AAC_FRAME = 1024
GARBAGE_BYTES = 4096

Timed = tuple[float, str, av.VideoFrame | av.AudioFrame]


def render_all(videos: Sequence[Video], folder: Path, seed: int, workers: int) -> None:
    """Write `<video_id>.mp4` for every video that has media, in `workers` processes."""
    folder.mkdir(parents=True, exist_ok=True)
    todo = [video for video in videos if video.broken not in ("missing", "no_media_uri")]
    one = partial(render, folder=folder, seed=seed)
    bar = partial(tqdm, desc="videos", unit="video", total=len(todo))
    if workers == 1:
        list(bar(map(one, todo)))
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        list(bar(pool.map(one, todo, chunksize=4)))


def render(video: Video, folder: Path, seed: int) -> None:
    """Write one video's file, broken if it is meant to be. The same video gives the same bytes."""
    path = folder / f"{video.video_id}.mp4"
    if video.broken == "garbage":
        path.write_bytes(rng(seed, "garbage", video.video_id).bytes(GARBAGE_BYTES))
        return
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as file:
        file.metadata["comment"] = LABEL
        file.metadata["title"] = video.video_id
        _write(file, video, seed)
    if video.broken == "truncated":
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])


def _write(file: OutputContainer, video: Video, seed: int) -> None:
    """Encode frames and sound side by side, in the order of their time."""
    picture = file.add_stream("libx264", rate=FRAMES_PER_SECOND, options=X264)
    picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    picture.codec_context.thread_count = 1  # threads would make the bytes depend on chance
    tracks: dict[str, Any] = {"picture": picture}  # av's two kinds of stream share no encode
    timed: list[Iterator[Timed]] = [_pictures(video, seed)]
    if video.broken != "no_sound":
        track = file.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        track.bit_rate = 32_000
        tracks["sound"] = track
        timed.append(_sounds(video, seed))
    for _, name, frame in merge(*timed, key=itemgetter(0)):
        file.mux(tracks[name].encode(frame))
    for name in tracks:
        file.mux(tracks[name].encode(None))


def _pictures(video: Video, seed: int) -> Iterator[Timed]:
    """(seconds, "picture", frame) in order."""
    for number, pixels in enumerate(frames(video, seed)):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
        yield number / FRAMES_PER_SECOND, "picture", frame


def _sounds(video: Video, seed: int) -> Iterator[Timed]:
    """(seconds, "sound", frame) in order."""
    samples = sound(video, seed)
    for start in range(0, len(samples), AAC_FRAME):
        chunk = np.ascontiguousarray(samples[None, start : start + AAC_FRAME])
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        yield start / SAMPLE_RATE, "sound", frame
