"""Render media files: vertical mp4 with H.264 and AAC, labelled as synthetic. A few are broken on purpose."""

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

from simulator.audio import SAMPLE_RATE, render_audio
from simulator.catalogue import SimulatedVideo
from simulator.frames import FRAMES_PER_SECOND, HEIGHT, WIDTH, render_frames
from simulator.seeds import make_rng

LABEL = "SYNTHETIC: rendered by python -m simulator; no real person or place is shown"
X264 = {"preset": "superfast", "crf": "27", "threads": "1", "g": str(2 * FRAMES_PER_SECOND)}
AAC_FRAME = 1024
GARBAGE_BYTES = 4096

TimedFrame = tuple[float, str, av.VideoFrame | av.AudioFrame]


def render_videos(videos: Sequence[SimulatedVideo], folder: Path, seed: int, workers: int) -> None:
    """Write `<video_id>.mp4` for every video that has media.

    Args:
        workers: number of processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    renderable = [video for video in videos if video.media_fault not in ("missing", "no_media_uri")]
    render_one = partial(render_video, folder=folder, seed=seed)
    bar = partial(tqdm, desc="videos", unit="video", total=len(renderable))
    if workers == 1:
        list(bar(map(render_one, renderable)))
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        list(bar(pool.map(render_one, renderable, chunksize=4)))


def render_video(video: SimulatedVideo, folder: Path, seed: int) -> None:
    """Write the file of one video, broken if the video has a fault. The bytes are reproducible."""
    path = folder / f"{video.video_id}.mp4"
    if video.media_fault == "garbage":
        path.write_bytes(make_rng(seed, "garbage", video.video_id).bytes(GARBAGE_BYTES))
        return
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as file:
        file.metadata["comment"] = LABEL
        file.metadata["title"] = video.video_id
        _encode(file, video, seed)
    if video.media_fault == "truncated":
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])


def _encode(file: OutputContainer, video: SimulatedVideo, seed: int) -> None:
    """Encode frames and sound in the order of their time."""
    video_stream = file.add_stream("libx264", rate=FRAMES_PER_SECOND, options=X264)
    video_stream.width, video_stream.height, video_stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    video_stream.codec_context.thread_count = 1  # with threads the bytes are not reproducible
    streams: dict[str, Any] = {"video": video_stream}  # PyAV's streams share no type with `encode`
    timed: list[Iterator[TimedFrame]] = [_video_frames(video, seed)]
    if video.media_fault != "no_sound":
        audio_stream = file.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        audio_stream.bit_rate = 32_000
        streams["audio"] = audio_stream
        timed.append(_audio_frames(video, seed))
    for _, name, frame in merge(*timed, key=itemgetter(0)):
        file.mux(streams[name].encode(frame))
    for name in streams:
        file.mux(streams[name].encode(None))


def _video_frames(video: SimulatedVideo, seed: int) -> Iterator[TimedFrame]:
    """Yield (seconds, "video", frame) in order of time."""
    for number, pixels in enumerate(render_frames(video, seed)):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
        yield number / FRAMES_PER_SECOND, "video", frame


def _audio_frames(video: SimulatedVideo, seed: int) -> Iterator[TimedFrame]:
    """Yield (seconds, "audio", frame) in order of time."""
    samples = render_audio(video, seed)
    for start in range(0, len(samples), AAC_FRAME):
        chunk = np.ascontiguousarray(samples[None, start : start + AAC_FRAME])
        frame = av.AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
        yield start / SAMPLE_RATE, "audio", frame
