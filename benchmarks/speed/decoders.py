"""Decoders to compare: this project's and those of other libraries.

A decoder takes the path of a video and returns the number of frames that it sampled and scaled to one size.
Each factory imports its own library, so a missing library can be reported.
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

from media.clip import SamplingConfig
from media.decode import decode_video
from media.frames import sampling_times

DecodeFunction = Callable[[Path], int]  # returns the number of sampled frames
FFMPEG_LIBRARY = re.compile(r"(lib(?:av|sw)[a-z]+)-[0-9a-f]{8}(\.so\.\d+)")


def undercurrent(sampling: SamplingConfig) -> DecodeFunction:
    """Return the decoder of the step `embed`."""
    return lambda path: sum(len(part) for part in decode_video(path, sampling).frames.values())


def torchcodec(sampling: SamplingConfig) -> DecodeFunction:
    """Return torchcodec in its fastest mode: it trusts the index of the header and scales while decoding."""
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    size = (sampling.image_size, sampling.image_size)

    def run(path: Path) -> int:
        video = VideoDecoder(
            str(path), num_ffmpeg_threads=1, seek_mode="approximate", transforms=[Resize(size)]
        )
        seconds = video.metadata.duration_seconds or 0.0
        # Times after the last frame are an error.
        times = [t for t in _sample_times(sampling, seconds) if t < seconds - 0.1]
        return len(video.get_frames_played_at(times).data)

    return run


def decord(sampling: SamplingConfig) -> DecodeFunction:
    """Return decord with random access to frames, scaled while decoding."""
    from decord import VideoReader

    side = sampling.image_size

    def run(path: Path) -> int:
        video = VideoReader(str(path), width=side, height=side, num_threads=1)
        rate = video.get_avg_fps()
        times = _sample_times(sampling, len(video) / rate)
        return len(video.get_batch([min(int(t * rate), len(video) - 1) for t in times]).asnumpy())

    return run


def opencv(sampling: SamplingConfig) -> DecodeFunction:
    """Return OpenCV. It decodes every frame, then fetches and scales the sampled ones."""
    import cv2

    cv2.setNumThreads(1)
    side = sampling.image_size
    assert side is not None  # this benchmark samples images

    def run(path: Path) -> int:
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        rate = video.get(cv2.CAP_PROP_FPS) or 25.0
        times = _sample_times(sampling, video.get(cv2.CAP_PROP_FRAME_COUNT) / rate)
        sampled = {int(t * rate) for t in times}
        images, number = [], 0
        while video.grab():
            if number in sampled:
                _, frame = video.retrieve()
                small = cv2.resize(frame, (side, side), interpolation=cv2.INTER_CUBIC)
                images.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
            number += 1
        return len(images)

    return run


def pyav(sampling: SamplingConfig) -> DecodeFunction:
    """Return PyAV. It decodes every frame and scales the sampled ones."""
    side = sampling.image_size

    def run(path: Path) -> int:
        with av.open(str(path)) as file:
            video = file.streams.video[0]
            video.codec_context.thread_count = 1
            times = _sample_times(sampling, (file.duration or 0) / av.time_base)
            images: list[np.ndarray] = []
            for frame in file.decode(video):
                if len(images) < len(times) and (frame.time or 0.0) >= times[len(images)]:
                    images.append(frame.to_ndarray(width=side, height=side, format="rgb24"))
        return len(images)

    return run


PEER_DECODERS = {"torchcodec": torchcodec, "decord": decord, "opencv": opencv, "pyav": pyav}
MODULES = {"torchcodec": "torchcodec", "decord": "decord", "opencv": "cv2", "pyav": "av"}


def installed_peers() -> dict[str, Callable[[SamplingConfig], DecodeFunction]]:
    """Return the factories of the installed libraries. Missing ones are reported on stderr."""
    for name in PEER_DECODERS:
        if find_spec(MODULES[name]) is None:
            print(f"{name} is not installed and is left out", file=sys.stderr)
    return {name: make for name, make in PEER_DECODERS.items() if find_spec(MODULES[name])}


def restart_with_ffmpeg() -> None:
    """Restart this program so that torchcodec finds PyAV's FFmpeg.

    torchcodec looks for the standard file names. So links with these names are put on LD_LIBRARY_PATH.
    """
    libraries = Path(av.__file__).parent.parent / "av.libs"
    if find_spec("torchcodec") is None or str(libraries) in os.environ.get("LD_LIBRARY_PATH", ""):
        return
    links = Path(tempfile.gettempdir()) / f"undercurrent-ffmpeg-{os.getuid()}-{av.__version__}"
    links.mkdir(exist_ok=True)
    for library in libraries.iterdir():
        if match := FFMPEG_LIBRARY.match(library.name):
            link = links / "".join(match.groups())
            link.unlink(missing_ok=True)
            link.symlink_to(library)
    os.environ["LD_LIBRARY_PATH"] = f"{links}:{libraries}"
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.speed.embedding", *sys.argv[1:]])


def _sample_times(sampling: SamplingConfig, seconds: float) -> list[float]:
    return [time for _, time in sampling_times(sampling, seconds) if time < seconds]
