"""Decoding as others do it: path -> how many pictures it took of the video, each scaled to one size.

Each imports its library when made, so that one that is not installed can be told.
"""

import os
import re
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np

from media.clip import Sampling
from media.decode import decode
from media.pictures import moments

Decode = Callable[[Path], int]  # gives the number of pictures taken
FFMPEG = re.compile(r"(lib(?:av|sw)[a-z]+)-[0-9a-f]{8}(\.so\.\d+)")


def ours(sampling: Sampling) -> Decode:
    return lambda path: sum(len(part) for part in decode(path, sampling).frames.values())


def torchcodec(sampling: Sampling) -> Decode:
    """The frames by their times, scaled in the decoder; the header's index is trusted (its quickest mode)."""
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    size = (sampling.image_size, sampling.image_size)

    def run(path: Path) -> int:
        video = VideoDecoder(
            str(path), num_ffmpeg_threads=1, seek_mode="approximate", transforms=[Resize(size)]
        )
        seconds = video.metadata.duration_seconds or 0.0
        times = [t for t in _times(sampling, seconds) if t < seconds - 0.1]  # behind the last frame it fails
        return len(video.get_frames_played_at(times).data)

    return run


def decord(sampling: Sampling) -> Decode:
    from decord import VideoReader

    side = sampling.image_size

    def run(path: Path) -> int:
        video = VideoReader(str(path), width=side, height=side, num_threads=1)
        rate = video.get_avg_fps()
        times = _times(sampling, len(video) / rate)
        return len(video.get_batch([min(int(t * rate), len(video) - 1) for t in times]).asnumpy())

    return run


def opencv(sampling: Sampling) -> Decode:
    """Every frame is decoded, the wanted ones are fetched and scaled."""
    import cv2

    cv2.setNumThreads(1)
    side = sampling.image_size

    def run(path: Path) -> int:
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        rate = video.get(cv2.CAP_PROP_FPS) or 25.0
        times = _times(sampling, video.get(cv2.CAP_PROP_FRAME_COUNT) / rate)
        wanted = {int(t * rate) for t in times}
        taken, number = [], 0
        while video.grab():
            if number in wanted:
                _, frame = video.retrieve()
                small = cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC)
                taken.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
            number += 1
        return len(taken)

    return run


def pyav(sampling: Sampling) -> Decode:
    """Every frame is decoded, the wanted ones are scaled."""
    side = sampling.image_size

    def run(path: Path) -> int:
        with av.open(str(path)) as file:
            video = file.streams.video[0]
            video.codec_context.thread_count = 1
            times = _times(sampling, (file.duration or 0) / av.time_base)
            taken: list[np.ndarray] = []
            for frame in file.decode(video):
                if len(taken) < len(times) and (frame.time or 0.0) >= times[len(taken)]:
                    taken.append(frame.to_ndarray(width=side, height=side, format="rgb24"))
        return len(taken)

    return run


PEERS = {"torchcodec": torchcodec, "decord": decord, "opencv": opencv, "pyav": pyav}
MODULES = {"torchcodec": "torchcodec", "decord": "decord", "opencv": "cv2", "pyav": "av"}


def installed() -> dict[str, Callable[[Sampling], Decode]]:
    """The peers at hand; says which are not."""
    for name in PEERS:
        if find_spec(MODULES[name]) is None:
            print(f"{name} is not installed and not measured", file=sys.stderr)
    return {name: make for name, make in PEERS.items() if find_spec(MODULES[name])}


def lend_ffmpeg() -> None:
    """Start this program again where torchcodec finds PyAV's FFmpeg, under the plain names it looks for."""
    libraries = Path(av.__file__).parent.parent / "av.libs"
    if find_spec("torchcodec") is None or str(libraries) in os.environ.get("LD_LIBRARY_PATH", ""):
        return
    links = Path(tempfile.gettempdir()) / f"undercurrent-ffmpeg-{os.getuid()}-{av.__version__}"
    links.mkdir(exist_ok=True)
    for library in libraries.iterdir():
        if found := FFMPEG.match(library.name):
            link = links / "".join(found.groups())
            link.unlink(missing_ok=True)
            link.symlink_to(library)
    os.environ["LD_LIBRARY_PATH"] = f"{links}:{libraries}"
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.embed", *sys.argv[1:]])


def _times(sampling: Sampling, seconds: float) -> list[float]:
    return [time for _, time in moments(sampling, seconds) if time < seconds]
