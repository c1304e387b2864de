"""Measure how well the sound of videos fits their motion.

The result is a table with one row for each video, printed or written to a Parquet file:

  video           the file
  synchrony       correlation of motion and sound onsets without a delay, -1 to 1;
                  motion is the change of pixels, or of embeddings with --group
  best_synchrony  the largest correlation with the sound shifted by up to 1 s
  sync_delay_ms   that shift; above 0 the sound is late
  reason          why there is no value; empty if there is one
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from core.config import EmbedConfig, load_params
from core.errors import DONE, REFUSED_INPUT, InputError
from core.paths import PROJECT_ROOT
from core.text_table import format_table
from media.clip import DecodeLimits, UnreadableMedia
from media.decode import NO_LIMITS
from research.synchrony.embedding_motion import embedding_form
from research.synchrony.measure import FRAMES, MIN_SECONDS, MotionForm, Synchrony, measure_video

VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm",
)  # fmt: skip
SCHEMA = pa.schema(
    {
        "video": pa.string(),
        "synchrony": pa.float64(),
        "best_synchrony": pa.float64(),
        "sync_delay_ms": pa.int64(),
        "reason": pa.string(),
    }
)
UNKNOWN = f"unknown: under {MIN_SECONDS:g} s of video and audio, no motion, or silence"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the videos of a command line.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        The exit code.
    """
    args = _build_parser().parse_args(argv)
    try:
        paths = find_videos(args.paths)
        _check_output(args.out)
        embed = load_params(args.params).embed
        form = FRAMES if args.group is None else _embedding_form(embed, args.group)
    except InputError as error:
        print(f"synchrony: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    av.logging.set_level(av.logging.PANIC)  # a bad file is reported in its row
    table = measure_table(paths, embed, form)
    num_measured = table.num_rows - table["synchrony"].null_count
    print(f"synchrony: {num_measured} of {table.num_rows} videos measured", file=sys.stderr)
    if args.out:
        _write(table, args.out)
    else:
        print(_as_text(table))
    return DONE


def find_videos(paths: Sequence[Path]) -> list[Path]:
    """Return the named files, and the video files in the named folders and their sub-folders.

    Raises:
        InputError: a path does not exist, or a folder holds no video.
    """
    return list(dict.fromkeys(video for path in paths for video in _videos_at(path)))


def _videos_at(path: Path) -> Iterator[Path]:
    if not path.exists():
        raise InputError(f"{path} does not exist; name a video file or a folder of videos")
    if not path.is_dir():
        yield path
        return
    found_videos = sorted(file for file in path.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES)
    if not found_videos:
        raise InputError(f"{path} holds no video; name another folder, or files of other types themselves")
    yield from found_videos


def _embedding_form(embed: EmbedConfig, group: int) -> MotionForm:
    """Return the form of motion by embeddings of the encoder that `embed.visual` names.

    Raises:
        InputError: the group is empty, or the encoder cannot be built.
    """
    from models.encoders import build_image_encoder, select_devices  # importing takes seconds

    if group < 1:
        raise InputError(f"--group is {group}; it must be 1 or more")
    try:
        encoder = build_image_encoder(embed.visual, select_devices(embed.device)[0], embed.precision)
    except ValueError as error:
        raise InputError(f"params.yaml: embed.visual: {error}") from None
    return embedding_form(encoder.encode, encoder.image_size, group)


def measure_table(paths: Sequence[Path], embed: EmbedConfig, form: MotionForm = FRAMES) -> pa.Table:
    """Return one row for each file.

    Args:
        paths: the files.
        embed: its segments set the measured length, and its limits apply to each file.
        form: how motion is measured.
    """
    seconds = embed.segment_seconds * embed.max_segments
    limits = replace(
        NO_LIMITS,
        max_file_bytes=embed.max_mib * (1 << 20),
        max_duration_seconds=embed.max_minutes * 60,
        max_pixels=int(embed.max_megapixels * 1_000_000),
    )
    rows = [_measure_row(path, seconds, limits, form) for path in tqdm(paths, "synchrony", unit="video")]
    return pa.Table.from_pylist(rows, SCHEMA)


def _measure_row(path: Path, seconds: float, limits: DecodeLimits, form: MotionForm) -> dict[str, object]:
    video = os.fsencode(path).decode(errors="replace")  # a file name need not be UTF-8
    try:
        synchrony = measure_video(path, seconds, limits, form)
    except UnreadableMedia as error:
        return {"video": video, "reason": str(error)}
    return {"video": video, "reason": UNKNOWN} if synchrony is None else {"video": video} | _values(synchrony)


def _values(synchrony: Synchrony) -> dict[str, object]:
    return {
        "synchrony": synchrony.correlation,
        "best_synchrony": synchrony.best_correlation,
        "sync_delay_ms": synchrony.best_delay_ms,
    }


def _check_output(path: Path | None) -> None:
    """Refuse an output that cannot be written, before the work begins."""
    if path is None:
        return
    if path.suffix != ".parquet" or path.is_dir():
        raise InputError(f"--out {path} is not the name of a Parquet file; end it in .parquet")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: the folder {path.parent} does not exist; create it or name another")


def _write(table: pa.Table, path: Path) -> None:
    """Write a Parquet file under a temporary name and rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(table, temporary)
    temporary.replace(path)


def _as_text(table: pa.Table) -> str:
    return format_table([SCHEMA.names, *(list(map(_cell, row.values())) for row in table.to_pylist())])


def _cell(value: float | str | None) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m research.synchrony",
        description=__doc__,
        epilog="Exit codes: 0 done, 1 failed, 2 refused input. A video without a value is no failure.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="VIDEO_OR_FOLDER",
        help=f"a video file, or a folder: its files and those of its sub-folders that end in"
        f" {', '.join(VIDEO_SUFFIXES)}",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE.parquet", help="write the table there (default: print it)"
    )
    parser.add_argument(
        "--group",
        type=int,
        metavar="IMAGES",
        help="measure motion by embeddings of the encoder embed.visual: how far the mean embedding of so many"
        " images moves (default: by pixels)",
    )
    parser.add_argument(
        "--params",
        type=Path,
        default=PROJECT_ROOT / "params.yaml",
        metavar="FILE",
        help="parameter file; its section embed has the measured length (segment_seconds × max_segments) and"
        " the limits for file size, duration and frame size (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
