"""Compare the time of `embed` on a night with 1 % new videos with that of the first night.

The step runs on a separate lake. The videos of --path (default: rendered by the simulator) are used under
--videos different names. A night without new videos shows the fixed cost of a night. The last line is the
JSON result.
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

from benchmarks.result import publish_result
from benchmarks.speed.embedding import make_demo_media
from core import config, paths
from core.paths import PROJECT_ROOT, Night
from core.tables import VIDEOS
from lake.client import Lake
from tasks import embed

FIRST_DAY = date(2026, 3, 1)


def main() -> int:
    """Run the benchmark. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.embed_nights", description=__doc__)
    parser.add_argument("--path", type=Path, help="folder of videos (default: the simulator renders some)")
    parser.add_argument(
        "--videos", type=int, default=1000, help="videos of the first night (default: %(default)s)"
    )
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/embed_nights.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="undercurrent-nights-") as folder:
        os.environ["UNDERCURRENT_HOME"] = folder
        os.environ.pop("UNDERCURRENT_LANDING", None)
        files = sorted((args.path or make_demo_media(Path(folder) / "simulator")).resolve().iterdir())
        counts = {
            "warm_up": 1,
            "first": args.videos,
            "no_new_videos": 0,
            "one_percent": max(1, args.videos // 100),
        }
        num_landed = 0
        seconds: dict[str, float] = {}
        for number, (name, count) in enumerate(counts.items()):
            day = FIRST_DAY + timedelta(number)
            land_videos(day, files, range(num_landed, num_landed + count))
            num_landed += count
            seconds[name] = time_embed_step(day)
    first, empty_night, small_night = (seconds[name] for name in ("first", "no_new_videos", "one_percent"))
    figures = {"videos": counts, "seconds": {name: round(s, 2) for name, s in seconds.items()}}
    ratios = {
        "one_percent_over_first": round(small_night / first, 4),
        "one_percent_over_first_less_fixed_cost": round(
            (small_night - empty_night) / (first - empty_night), 4
        ),
    }
    publish_result("embed_nights", figures, ratios, args.keep)
    return 0


def land_videos(day: date, files: list[Path], numbers: range) -> None:
    """Write videos to the lake's catalogue, as `ingest` does.

    Args:
        day: their upload day.
        files: media files; a video with a larger number uses them again.
        numbers: numbers of the videos.
    """
    media = paths.local_landing() / "media"
    media.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in numbers:
        file = files[number % len(files)]
        name = f"{number:06d}{file.suffix}"
        (media / name).symlink_to(file)
        rows.append(
            {"video_id": name, "media_uri": f"media/{name}", "caption": f"video {number}", "day": day}
        )
    Lake().write("videos", pa.Table.from_pylist(rows, VIDEOS.schema))


def time_embed_step(day: date) -> float:
    """Run the step on a day and return its seconds."""
    section = replace(config.load_params(PROJECT_ROOT / "params.yaml").embed, device="cpu")
    started = time.perf_counter()
    embed.run(section, Night(day, paths.home() / "nights" / str(day)))
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
