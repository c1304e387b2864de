"""Measure the speed from media files to vectors and compare it with other libraries.

decode: every library samples the same frames of the same videos and scales them, on one thread.
encode: every library encodes the same images.
pipeline: decoding and encoding at the same time.
memory: peak memory for n and 4 n videos.
device: utilisation of the GPU, or of the CPU.

The contenders run by turns, and the median of the turns is reported. Without --path the simulator renders
videos first. The other libraries are not part of the environment. Missing ones are reported and left out. To
add them:
    uv run --with-requirements benchmarks/peers.txt python -m benchmarks.speed.embedding
The last line is the JSON result.
"""

import argparse
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.result import peak_mib, publish_result
from benchmarks.speed import decoders, encoders
from benchmarks.turns import median_seconds
from core.paths import PROJECT_ROOT
from features.embedding import BatchEncoder
from media.clip import DecodedVideo, DecodeLimits, SamplingConfig, UnreadableMedia
from media.decode import decode_video
from media.decoders import DecoderPool

MODEL = "ViT-B-32"
BATCH_SIZE = 64
SMALL_BATCH_SIZE = 16  # a batch holds one video, and few of these videos have 64 frames
SAMPLING = SamplingConfig(5.0, 40, 2, 224, "shortest", None)
LIMITS = DecodeLimits(60, 4 << 30)
PACKAGES = ("torch", "open-clip-torch", "av", "torchcodec", "decord", "opencv-python-headless", "openvino")
MAX_VIDEOS = 60
MEMORY_VIDEOS = 8  # n of the part memory

PartResult = tuple[dict[str, Any], dict[str, float]]  # figures, ratios


def main() -> int:
    """Run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed.embedding",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--path", type=Path, help="folder of videos (default: the simulator renders some)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="runs of each contender (default: %(default)s)"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run (default: all)"
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/embed-<folder>.json")
    args = parser.parse_args()
    decoders.restart_with_ffmpeg()
    with tempfile.TemporaryDirectory(prefix="undercurrent-embed-") as folder:
        files = sorted((args.path or make_demo_media(Path(folder))).resolve().iterdir())[:MAX_VIDEOS]
        figures, ratios = measure(files, args.parts, args.repeats)
    publish_result(f"embed-{args.path.name if args.path else 'demo'}", figures, ratios, args.keep)
    return 0


def make_demo_media(folder: Path) -> Path:
    """Run the simulator and return the folder of its media files."""
    command = [sys.executable, "-m", "simulator", "make", "--out", str(folder / "simulator")]
    subprocess.run(command, cwd=PROJECT_ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder / "simulator" / "landing" / "media"


def measure(
    files: Sequence[Path], parts: Sequence[str], repeats: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """Run the parts and return their figures and ratios.

    Args:
        files: videos.
        parts: keys of PARTS.
        repeats: runs of each contender.
    """
    figures: dict[str, Any] = {"versions": package_versions()}
    ratios: dict[str, float] = {}
    for part in parts:
        part_figures, part_ratios = PARTS[part](files, repeats)
        print(f"{part}: {part_figures} {part_ratios}", file=sys.stderr)
        figures[part] = part_figures
        ratios |= part_ratios
    return figures, ratios


def benchmark_decoding(files: Sequence[Path], repeats: int) -> PartResult:
    """Measure videos/s of each decoder on the files that all of them decode."""
    decoders_by_name = {"undercurrent": decoders.undercurrent(SAMPLING)}
    decoders_by_name |= {name: make(SAMPLING) for name, make in decoders.installed_peers().items()}
    common_files = [path for path in files if _can_all_decode(decoders_by_name, path)]
    contenders = {name: partial(_decode_all, run, common_files) for name, run in decoders_by_name.items()}
    seconds = median_seconds([contenders] * repeats)
    fastest = min(s for name, s in seconds.items() if name != "undercurrent")
    figures = {
        "videos": len(common_files),
        "skipped": sorted(path.name for path in set(files) - set(common_files)),
        "videos_per_s": {name: round(len(common_files) / s, 2) for name, s in seconds.items()},
    }
    return figures, {"decode_seconds_over_fastest_peer": round(seconds["undercurrent"] / fastest, 3)}


def benchmark_encoding(files: Sequence[Path], repeats: int) -> PartResult:
    """Measure images/s of each encoder, and the cosine between our vectors and those of fp32."""
    batch = [image for clip in _decodable_clips(files) for part in clip.frames.values() for image in part]
    batch = (batch * BATCH_SIZE)[:BATCH_SIZE]
    encoders_by_name = encoders.installed_contenders(MODEL, BATCH_SIZE)
    contenders = {name: partial(encode, batch) for name, encode in encoders_by_name.items()}
    seconds = median_seconds([contenders] * repeats)
    cosine = (encoders_by_name["undercurrent"](batch) * encoders_by_name["torch fp32"](batch)).sum(1)
    figures = {
        "images_per_s": {name: round(BATCH_SIZE / s, 1) for name, s in seconds.items()},
        "cosine_to_fp32": {"mean": round(float(cosine.mean()), 5), "min": round(float(cosine.min()), 5)},
    }
    return figures, {
        f"encode_rate_over_{name}": round(s / seconds["undercurrent"], 2)
        for name, s in seconds.items()
        if name != "undercurrent"
    }


def benchmark_pipeline(files: Sequence[Path], repeats: int) -> PartResult:
    """Measure decoding in one process, encoding on one thread, and both at once, with each file twice."""
    encode = encoders.undercurrent(MODEL, torch.device("cpu"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with DecoderPool(Path("/"), SAMPLING, LIMITS, 1) as pool:
        names = [str(path) for path in files] * 2
        clips = list(pool.decode(names))
        contenders = {
            "decode": lambda: list(pool.decode(names)),
            "encode": lambda: encode_clips(clips, encode, SMALL_BATCH_SIZE),
            "pipeline": lambda: encode_clips(pool.decode(names), encode, SMALL_BATCH_SIZE),
        }
        seconds = median_seconds([contenders] * repeats)
    torch.set_num_threads(threads)
    slower = max(seconds["decode"], seconds["encode"])
    figures = {f"{name}_s": round(s, 2) for name, s in seconds.items()}
    return figures, {"pipeline_over_slower_stage": round(seconds["pipeline"] / slower, 3)}


def benchmark_memory(files: Sequence[Path], repeats: int) -> PartResult:
    """Measure the peak MiB of the encoding process for n and 4 n videos."""
    smallest_files = sorted(files, key=lambda path: path.stat().st_size)[:MEMORY_VIDEOS]
    figures = {
        f"{n}_videos_mib": _peak_in_subprocess(smallest_files, n)
        for n in (len(smallest_files), 4 * len(smallest_files))
    }
    small_peak, large_peak = figures.values()
    return figures, {"peak_of_4n_over_n": round(large_peak / small_peak, 3)}


def benchmark_device(files: Sequence[Path], repeats: int) -> PartResult:
    """Measure the utilisation of the GPU, or of the CPU if there is none."""
    if not torch.cuda.is_available():
        print("no GPU available; measuring the utilisation of the CPU", file=sys.stderr)
        return {
            "cpu": {MODEL: encoders.device_utilisation(MODEL, torch.device("cpu"), BATCH_SIZE, repeats)}
        }, {}
    device = torch.device("cuda")
    utilisation = {
        name: encoders.device_utilisation(name, device, 1024, 10 * repeats) for name in (MODEL, "ViT-L-14")
    }
    return {torch.cuda.get_device_name(): utilisation}, {}


PARTS = {
    "decode": benchmark_decoding,
    "encode": benchmark_encoding,
    "pipeline": benchmark_pipeline,
    "memory": benchmark_memory,
    "device": benchmark_device,
}


def encode_clips(clips: Any, encode: encoders.EncodeFunction, batch_size: int) -> None:
    """Encode as the step `embed` does.

    A batch holds one video. Finished vectors are released every BATCH_SIZE videos.
    """
    batches = BatchEncoder("visual", encode, batch_size)
    for number, clip in enumerate(clip for clip in clips if isinstance(clip, DecodedVideo)):
        for segment, frames in clip.frames.items():
            batches.add(str(number), segment, list(frames))
        if number % BATCH_SIZE == BATCH_SIZE - 1:
            batches.finish()
    batches.finish()


def _peak_in_subprocess(files: Sequence[Path], count: int) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # a new process, because a peak never falls
        return pool.apply(_peak_of_encoding, ([str(files[n % len(files)]) for n in range(count)],))


def _peak_of_encoding(names: Sequence[str]) -> int:
    encode = encoders.undercurrent(MODEL, torch.device("cpu"))
    with DecoderPool(Path("/"), SAMPLING, LIMITS, 2) as pool:
        encode_clips(pool.decode(names), encode, BATCH_SIZE)
    return peak_mib()


def _decode_all(run: decoders.DecodeFunction, files: Sequence[Path]) -> None:
    for path in files:
        run(path)


def _decodable_clips(files: Sequence[Path]) -> Iterator[DecodedVideo]:
    """Yield the decoded videos of readable files until they fill one batch."""
    num_images = 0
    for path in files:
        if num_images < BATCH_SIZE:
            with suppress(UnreadableMedia):
                clip = decode_video(path, SAMPLING)
                num_images += sum(map(len, clip.frames.values()))
                yield clip


def package_versions() -> dict[str, str]:
    """Return the version of each measured package, or "not installed"."""
    versions_by_package = {}
    for name in PACKAGES:
        try:
            versions_by_package[name] = version(name)
        except PackageNotFoundError:
            versions_by_package[name] = "not installed"
    return versions_by_package


# Of PyAV, TorchCodec, decord and OpenCV.
DECODER_ERRORS = (RuntimeError, ValueError, OSError, LookupError, TypeError)


def _can_all_decode(decoders_by_name: Mapping[str, decoders.DecodeFunction], path: Path) -> bool:
    """Whether all decoders decode the file. Failures are reported on stderr."""
    all_decode = True
    for name, run in decoders_by_name.items():
        try:
            if not run(path):
                raise ValueError("no frame")
        except UnreadableMedia as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            return False
        except DECODER_ERRORS as error:
            print(
                f"{path.name}: {name} cannot decode it: {str(error).strip().splitlines()[0]}",
                file=sys.stderr,
            )
            all_decode = False
    return all_decode


if __name__ == "__main__":
    sys.exit(main())
