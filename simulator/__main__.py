"""Simulate a small short-video platform whose ground truth is known.

make     Write landing files, media and the ground truth.
render   Write videos only, to train or test encoders.
corrupt  Remove the user from half of a night's events.
repair   Restore the events of a corrupted night.
stream   Write millions of events without media.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from core import config as parameters
from core import paths
from core.errors import DONE, REFUSED_INPUT, InputError
from core.paths import PROJECT_ROOT, parse_day
from simulator import ground_truth
from simulator.calendar import make_calendar
from simulator.event_stream import StreamConfig, write_stream
from simulator.faulty_night import corrupt_night, repair_night
from simulator.writer import write_simulation, write_videos_only

EPILOG = "Exit codes: 0 done, 1 failed, 2 refused input. All data is synthetic and labelled as synthetic."
FOLDERS = f"landing/ and {ground_truth.FOLDER_NAME}/"
Commands = argparse._SubParsersAction  # argparse has no public name for it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of the simulator.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        the exit code.
    """
    args = _build_parser().parse_args(argv)
    try:
        args.run(args)
    except InputError as error:
        print(f"simulator: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    return DONE


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m simulator", description=(__doc__ or "").splitlines()[0], epilog=EPILOG
    )
    commands = parser.add_subparsers(required=True, metavar="make | render | corrupt | repair | stream")
    for add in (_add_make, _add_render, _add_corrupt, _add_repair, _add_stream):
        add(commands)
    return parser


def _add_make(commands: Commands) -> None:
    command = _add_command(commands, "make", _make, "write landing files, media and the ground truth")
    command.add_argument(
        "--features",
        action="store_true",
        help="write feature vectors instead of media; set embed.<modality> to landed",
    )
    _add_platform_folder(command)
    _add_params(command)


def _make(args: argparse.Namespace) -> None:
    params = parameters.load_params(args.params)
    calendar = make_calendar(params.simulator, str(args.params))
    landing, ground_truth_folder = _output_folders(args.out)
    started = time.perf_counter()
    counts = write_simulation(calendar, params.clean, landing, ground_truth_folder, _workers(), args.features)
    print(
        f"simulator: {calendar.date(0)} to {calendar.date(calendar.num_days - 1)}: {_format_counts(counts)}; "
        f"{time.perf_counter() - started:.0f} s"
    )
    print(f"simulator: landing {landing}, ground truth {ground_truth_folder}")


def _add_render(commands: Commands) -> None:
    command = _add_command(commands, "render", _render, "write videos only, to train or test encoders")
    command.add_argument(
        "--seed",
        required=True,
        type=int,
        metavar="N",
        help="random seed; the demo has simulator.seed, so take another one",
    )
    command.add_argument(
        "--videos", type=_positive_int, default=500, help="number of videos (default: %(default)s)"
    )
    _add_new_folder(command, "folder")
    _add_params(command)


def _render(args: argparse.Namespace) -> None:
    params = parameters.load_params(args.params).simulator
    videos_only = replace(
        params,
        seed=args.seed,
        videos=args.videos,
        users=1,
        history_days=1,
        nights=0,
        new_users_per_day=0,
        new_videos_per_day=0,
        outage_night=0,
        trend_night=0,
    )
    calendar = make_calendar(videos_only, str(args.params))
    landing, ground_truth_folder = _output_folders(args.out)
    count = write_videos_only(calendar, landing, ground_truth_folder, _workers())
    print(f"simulator: {count} videos; landing {landing}, ground truth {ground_truth_folder}")


def _add_corrupt(commands: Commands) -> None:
    help_text = "remove the user from half of a night's events; keeps a backup"
    command = _add_command(commands, "corrupt", _corrupt, help_text)
    _add_platform_folder(command)
    _add_night(command)
    _add_params(command)


def _corrupt(args: argparse.Namespace) -> None:
    landing, ground_truth_folder = _output_folders(args.out)
    seed = parameters.load_params(args.params).simulator.seed
    num_corrupted = corrupt_night(landing, ground_truth_folder, parse_day(args.night), seed)
    print(f"simulator: removed the user from {num_corrupted} events of {args.night}")


def _add_repair(commands: Commands) -> None:
    command = _add_command(commands, "repair", _repair, "restore the events of a corrupted night")
    _add_platform_folder(command)
    _add_night(command)


def _repair(args: argparse.Namespace) -> None:
    repair_night(_output_folders(args.out)[0], parse_day(args.night))
    print(f"simulator: restored the events of {args.night}")


def _add_stream(commands: Commands) -> None:
    help_text = "write millions of events without media, in bounded memory"
    command = _add_command(commands, "stream", _stream, help_text)
    command.add_argument("--events", required=True, type=_positive_int, help="number of events, such as 1e6")
    command.add_argument(
        "--days", type=_positive_int, default=7, help="number of days (default: %(default)s)"
    )
    _add_new_folder(command, "new folder")
    _add_params(command)


def _stream(args: argparse.Namespace) -> None:
    params = parameters.load_params(args.params).simulator
    first_day = parse_day(params.first_day, f"{args.params}: simulator.first_day")
    config = StreamConfig(params.seed, args.events, args.days, first_day)
    started = time.perf_counter()
    counts = write_stream(config, args.out.resolve())
    events_per_second = config.num_events / (time.perf_counter() - started)
    print(f"simulator: {_format_counts(counts)}; {events_per_second:,.0f} events/s; {args.out / 'landing'}")


def _add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], None], help_text: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=help_text, description=help_text, epilog=EPILOG)
    command.set_defaults(run=run)
    return command


def _add_platform_folder(command: argparse.ArgumentParser) -> None:
    default = "set by UNDERCURRENT_LANDING and UNDERCURRENT_HOME, else var"
    command.add_argument(
        "--out", type=Path, metavar="DIR", help=f"folder with {FOLDERS} (default: {default})"
    )


def _add_new_folder(command: argparse.ArgumentParser, kind: str) -> None:
    command.add_argument("--out", required=True, type=Path, metavar="DIR", help=f"{kind} for {FOLDERS}")


def _add_night(command: argparse.ArgumentParser) -> None:
    command.add_argument("--night", required=True, metavar="YYYY-MM-DD", help="day whose events change")


def _add_params(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--params",
        type=Path,
        default=PROJECT_ROOT / "params.yaml",
        metavar="FILE",
        help="parameter file (default: %(default)s)",
    )


def _output_folders(out: Path | None) -> tuple[Path, Path]:
    """Return the landing folder and the folder of the ground truth."""
    if out is None:
        return paths.local_landing(), paths.home() / ground_truth.FOLDER_NAME
    return out.resolve() / "landing", out.resolve() / ground_truth.FOLDER_NAME


def _workers() -> int:
    """Return the number of processes that render videos."""
    return min(2, os.cpu_count() or 1)


def _format_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())


def _positive_int(text: str) -> int:
    """Parse a whole number of at least 1. The form 1e6 is accepted too."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; write 1000000 or 1e6") from None
    if value < 1 or value != int(value):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(value)


if __name__ == "__main__":
    sys.exit(main())
