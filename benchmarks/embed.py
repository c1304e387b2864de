"""From media to vectors: how fast, beside those who do the same.

Decoding: each takes the same moments of the same videos and scales them to one size, on one thread. Encoding:
each encodes the same pictures. Then both at once, and memory for n and 4 n videos. All contenders take turns,
and the median of the turns counts. Without --path the media of the demo world are made and used.

The others are not part of the environment: uv run --with-requirements benchmarks/peers.txt python -m
benchmarks.embed. What is not installed is said and left out. The last line is the JSON result.
"""

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks import decoders, encoders
from benchmarks.result import peak_mib, publish
from contracts.place import PROJECT
from media.clip import Clip, Limits, Sampling, Unreadable
from media.decode import decode
from media.decoders import Decoders
from tasks.embedding import Batches

MODEL = "ViT-B-32"
BATCH = 64
SMALL_BATCH = 16  # a batch is of one video, and few of these have 64 pictures
SAMPLING = Sampling(5.0, 40, 2, 224, "shortest", None)
LIMITS = Limits(60, 4 << 30)
PACKAGES = ("torch", "open-clip-torch", "av", "torchcodec", "decord", "opencv-python-headless", "openvino")
VIDEOS = 60  # at most
VIDEOS_OF_MEMORY = 8  # n

Part = tuple[dict[str, Any], dict[str, float]]  # figures, ratios


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embed", description=__doc__)
    parser.add_argument("--path", type=Path, help="folder of videos (default: the demo world's are made)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="turns of each contender (default: %(default)s)"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/embed-<folder>.json")
    args = parser.parse_args()
    decoders.lend_ffmpeg()
    with tempfile.TemporaryDirectory(prefix="undercurrent-embed-") as folder:
        files = sorted((args.path or demo_media(Path(folder))).resolve().iterdir())[:VIDEOS]
        figures, ratios = measure(files, args.parts, args.repeats)
    publish(f"embed-{args.path.name if args.path else 'demo'}", figures, ratios, args.keep)
    return 0


def demo_media(folder: Path) -> Path:
    """The demo world's media of its first day."""
    command = [sys.executable, "-m", "world", "make", "--out", str(folder / "world")]
    subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    return folder / "world" / "landing" / "media"


def measure(
    files: Sequence[Path], parts: Sequence[str], repeats: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """The figures of each part, and the ratios that tell whether it is fast."""
    figures: dict[str, Any] = {"versions": versions()}
    ratios: dict[str, float] = {}
    for part in parts:
        found, compared = PARTS[part](files, repeats)
        print(f"{part}: {found} {compared}", file=sys.stderr)
        figures[part] = found
        ratios |= compared
    return figures, ratios


def decoding(files: Sequence[Path], repeats: int) -> Part:
    """Videos/s of each, over the files that all of them decode."""
    known = {"ours": decoders.ours(SAMPLING)}
    known |= {name: make(SAMPLING) for name, make in decoders.installed().items()}
    common = [path for path in files if _all_can(known, path)]
    seconds = turns({name: partial(_each, run, common) for name, run in known.items()}, repeats)
    fastest = min(s for name, s in seconds.items() if name != "ours")
    figures = {
        "videos": len(common),
        "left_out": sorted(path.name for path in set(files) - set(common)),
        "videos_per_s": {name: round(len(common) / s, 2) for name, s in seconds.items()},
    }
    return figures, {"decode_seconds_over_fastest_peer": round(seconds["ours"] / fastest, 3)}


def encoding(files: Sequence[Path], repeats: int) -> Part:
    """Images/s of each from the same pictures, and how near ours are to fp32."""
    batch = [picture for clip in _clips(files) for part in clip.frames.values() for picture in part]
    batch = (batch * BATCH)[:BATCH]
    made = encoders.contenders(MODEL, BATCH)
    seconds = turns({name: partial(encode, batch) for name, encode in made.items()}, repeats)
    cosine = (made["ours"](batch) * made["torch fp32"](batch)).sum(1)
    figures = {
        "images_per_s": {name: round(BATCH / s, 1) for name, s in seconds.items()},
        "cosine_to_fp32": {"mean": round(float(cosine.mean()), 5), "least": round(float(cosine.min()), 5)},
    }
    return figures, {
        f"encode_rate_over_{name}": round(s / seconds["ours"], 2)
        for name, s in seconds.items()
        if name != "ours"
    }


def together(files: Sequence[Path], repeats: int) -> Part:
    """Seconds of decoding (one process), of encoding (one thread), and of both at once, the files twice."""
    encode = encoders.ours(MODEL, torch.device("cpu"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with Decoders(Path(), SAMPLING, LIMITS, 1) as pool:
        names = [str(path) for path in files] * 2
        clips = list(pool.decode(names))
        seconds = turns(
            {
                "decode": lambda: list(pool.decode(names)),
                "encode": lambda: consume(clips, encode, SMALL_BATCH),
                "together": lambda: consume(pool.decode(names), encode, SMALL_BATCH),
            },
            repeats,
        )
    torch.set_num_threads(threads)
    slower = max(seconds["decode"], seconds["encode"])
    figures = {f"{name}_s": round(s, 2) for name, s in seconds.items()}
    return figures, {"together_over_slower_half": round(seconds["together"] / slower, 3)}


def memory(files: Sequence[Path], repeats: int) -> Part:
    """Peak MiB of the process that encodes, for n and for 4 n videos."""
    few = sorted(files, key=lambda path: path.stat().st_size)[:VIDEOS_OF_MEMORY]
    figures = {f"{n}_videos_mib": _peaks(few, n) for n in (len(few), 4 * len(few))}
    least, most = figures.values()
    return figures, {"peak_of_4n_over_n": round(most / least, 3)}


def chip(files: Sequence[Path], repeats: int) -> Part:
    """What ours gets out of the device: the GPU where there is one."""
    if not torch.cuda.is_available():
        print("no GPU is at hand: the share of the chip is the CPU's", file=sys.stderr)
        return {"cpu": {MODEL: encoders.of_the_chip(MODEL, torch.device("cpu"), BATCH, repeats)}}, {}
    device = torch.device("cuda")
    found = {name: encoders.of_the_chip(name, device, 1024, 10 * repeats) for name in (MODEL, "ViT-L-14")}
    return {torch.cuda.get_device_name(): found}, {}


PARTS = {"decode": decoding, "encode": encoding, "together": together, "memory": memory, "chip": chip}


def turns(contenders: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each, the contenders taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(found) for name, found in seconds.items()}


def consume(clips: Any, encode: encoders.Encode, size: int) -> None:
    """Encode as the step does: batches of one video each, vectors given away every so many videos."""
    batches = Batches("visual", encode, size)
    for number, clip in enumerate(clip for clip in clips if isinstance(clip, Clip)):
        for segment, frames in clip.frames.items():
            batches.add(str(number), segment, list(frames))
        if number % BATCH == BATCH - 1:
            batches.finish()
    batches.finish()


def _peaks(files: Sequence[Path], count: int) -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # a process of its own: peaks do not go down
        return pool.apply(_peak, ([str(files[n % len(files)]) for n in range(count)],))


def _peak(names: Sequence[str]) -> int:
    encode = encoders.ours(MODEL, torch.device("cpu"))
    with Decoders(Path(), SAMPLING, LIMITS, 2) as pool:
        consume(pool.decode(names), encode, BATCH)
    return peak_mib()


def _each(run: decoders.Decode, files: Sequence[Path]) -> None:
    for path in files:
        run(path)


def _clips(files: Sequence[Path]) -> Iterator[Clip]:
    """Of the files that can be decoded, as far as one batch needs them."""
    pictures = 0
    for path in files:
        if pictures < BATCH:
            with suppress(Unreadable):
                clip = decode(path, SAMPLING)
                pictures += sum(map(len, clip.frames.values()))
                yield clip


def versions() -> dict[str, str]:
    """Of the packages that were measured; None: not installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _all_can(known: Mapping[str, decoders.Decode], path: Path) -> bool:
    """Whether each decodes the file; says who does not."""
    able = True
    for name, run in known.items():
        try:
            if not run(path):
                raise ValueError("it gives no picture")
        except Unreadable as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            return False
        except Exception as error:  # each library has errors of its own
            print(
                f"{path.name}: {name} cannot decode it ({str(error).strip().splitlines()[0]})",
                file=sys.stderr,
            )
            able = False
    return able


if __name__ == "__main__":
    sys.exit(main())
