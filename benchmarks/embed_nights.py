"""What a night with 1 % new videos costs against the first one: the real step on a lake of its own.

The videos of --path (default: the demo world's, made for this) under as many names as --videos says. Each
night is a run of `embed` in this process; a night with nothing new shows what any night costs.
The last line is the JSON result.
"""

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa

from benchmarks.embed import demo_media
from benchmarks.result import publish
from contracts import params, place
from contracts.lake import Lake
from contracts.place import PROJECT, Night
from contracts.tables import VIDEOS
from tasks import embed

FIRST = date(2026, 3, 1)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embed_nights", description=__doc__)
    parser.add_argument("--path", type=Path, help="folder of videos (default: the demo world's are made)")
    parser.add_argument("--videos", type=int, default=1000, help="of the first night (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/embed_nights.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="undercurrent-nights-") as folder:
        os.environ["UNDERCURRENT_HOME"] = folder
        os.environ.pop("UNDERCURRENT_LANDING", None)
        files = sorted((args.path or demo_media(Path(folder) / "world")).resolve().iterdir())
        counts = {
            "warm_up": 1,
            "first": args.videos,
            "nothing_new": 0,
            "one_percent": max(1, args.videos // 100),
        }
        known = 0
        seconds: dict[str, float] = {}
        for number, (name, count) in enumerate(counts.items()):
            day = FIRST + timedelta(number)
            arrive(day, files, range(known, known + count))
            known += count
            seconds[name] = run(day)
    first, nothing, new = (seconds[name] for name in ("first", "nothing_new", "one_percent"))
    figures = {"videos": counts, "seconds": {name: round(s, 2) for name, s in seconds.items()}}
    ratios = {
        "one_percent_over_first": round(new / first, 4),
        "beyond_an_empty_night": round((new - nothing) / (first - nothing), 4),
    }
    publish("embed_nights", figures, ratios, args.keep)
    return 0


def arrive(day: date, files: list[Path], numbers: range) -> None:
    """Catalogue entries of a day, as `ingest` writes them."""
    media = place.landing() / "media"
    media.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in numbers:
        file = files[number % len(files)]
        name = f"{number:06d}{file.suffix}"
        (media / name).symlink_to(file)
        lines.append(
            {"video_id": name, "media_uri": f"media/{name}", "caption": f"video {number}", "day": day}
        )
    Lake().write("videos", pa.Table.from_pylist(lines, VIDEOS.schema))


def run(day: date) -> float:
    """Seconds that the step took."""
    section = replace(params.load(PROJECT / "params.yaml").embed, device="cpu")
    started = time.perf_counter()
    embed.run(section, Night(day, place.home() / "nights" / str(day)))
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
