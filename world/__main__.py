"""The demo world: a small synthetic short-video platform with known truth.

make     write its landing files and media, and the truth apart from them
poison   spoil a night: half of its events lose their user
mend     put the good events file of a poisoned night back
film     write videos alone, of another seed: to train encoders on, and to test them
stream   write events by the million, without media, in bounded memory
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from contracts import params as parameters
from contracts import place
from contracts.errors import DONE, REFUSED_INPUT, InputError
from contracts.place import PROJECT, parse_day
from world import truth
from world.calendar import calendar
from world.deliver import film, make
from world.poison import mend, poison
from world.stream import Plan, write_stream

EPILOG = "exit codes: 0 done, 1 failed, 2 refused input. All of it is synthetic and labelled so."


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and do one thing."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except InputError as error:
        print(f"world: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    return DONE


def _make(args: argparse.Namespace) -> None:
    params = parameters.load(args.params)
    days = calendar(params.world, str(args.params))
    landing, truth_folder = _folders(args.out)
    started = time.perf_counter()
    counts = make(days, params.clean, landing, truth_folder, min(2, os.cpu_count() or 1))
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(
        f"world: {days.date(0)} to {days.date(days.days - 1)}: {told}; {time.perf_counter() - started:.0f} s"
    )
    print(f"world: landing {landing}, truth {truth_folder}")


def _poison(args: argparse.Namespace) -> None:
    landing, truth_folder = _folders(args.out)
    seed = parameters.load(args.params).world.seed
    lost = poison(landing, truth_folder, parse_day(args.night), seed)
    print(f"world: {lost} events of {args.night} have lost their user")


def _mend(args: argparse.Namespace) -> None:
    mend(_folders(args.out)[0], parse_day(args.night))
    print(f"world: the events of {args.night} are as they were")


def _film(args: argparse.Namespace) -> None:
    params = parameters.load(args.params).world
    alone = replace(
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
    days = calendar(alone, str(args.params))
    landing, truth_folder = _folders(args.out)
    count = film(days, landing, truth_folder, min(2, os.cpu_count() or 1))
    print(f"world: {count} videos; landing {landing}, truth {truth_folder}")


def _stream(args: argparse.Namespace) -> None:
    params = parameters.load(args.params).world
    plan = Plan(
        params.seed, args.events, args.days, parse_day(params.first_day, f"{args.params}: world.first_day")
    )
    started = time.perf_counter()
    counts = write_stream(plan, args.out.resolve())
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    speed = plan.events / (time.perf_counter() - started)
    print(f"world: {told}; {speed:,.0f} events/s; {args.out / 'landing'}")


def _folders(out: Path | None) -> tuple[Path, Path]:
    """The landing folder and the truth's."""
    if out is None:
        return place.landing(), place.home() / truth.NAME
    return out.resolve() / "landing", out.resolve() / truth.NAME


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m world", description=(__doc__ or "").splitlines()[0], epilog=EPILOG
    )
    commands = parser.add_subparsers(required=True, metavar="make | film | poison | mend | stream")
    for name, run, told in (
        ("make", _make, "write the world's landing files and media, and the truth apart from them"),
        ("film", _film, "write videos alone, of another seed: to train encoders on, and to test them"),
        ("poison", _poison, "spoil a night: half of its events lose their user; the good file is kept aside"),
        ("mend", _mend, "put the good events file of a poisoned night back"),
        ("stream", _stream, "write events by the million, without media, in bounded memory"),
    ):
        command = commands.add_parser(name, help=told, description=told, epilog=EPILOG)
        command.set_defaults(run=run)
        _add_options(command, name)
    return parser


def _add_options(command: argparse.ArgumentParser, name: str) -> None:
    where = "holds landing/ and truth/"
    if name == "film":
        command.add_argument("--seed", required=True, type=int, metavar="N", help="the demo's is world.seed")
        command.add_argument("--videos", type=_count, default=500, help="how many (default: %(default)s)")
    if name == "stream":
        command.add_argument("--events", required=True, type=_count, help="how many, e.g. 1e6")
        command.add_argument("--days", type=_count, default=7, help="spread over so many days (default: 7)")
        command.add_argument(
            "--out", required=True, type=Path, metavar="DIR", help=f"new folder that {where}"
        )
    elif name == "film":
        command.add_argument("--out", required=True, type=Path, metavar="DIR", help=f"folder that {where}")
    else:
        default = "UNDERCURRENT_LANDING and UNDERCURRENT_HOME, or var"
        command.add_argument(
            "--out", type=Path, metavar="DIR", help=f"folder that {where} (default: {default})"
        )
    if name in ("poison", "mend"):
        command.add_argument(
            "--night", required=True, metavar="YYYY-MM-DD", help="the day whose events are meant"
        )
    if name != "mend":
        command.add_argument(
            "--params", type=Path, default=PROJECT / "params.yaml", help="default: %(default)s"
        )


def _count(text: str) -> int:
    """A whole number of at least 1, also written as 1e6."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; write 1000000 or 1e6") from None
    if value < 1 or value != int(value):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(value)


if __name__ == "__main__":
    sys.exit(main())
