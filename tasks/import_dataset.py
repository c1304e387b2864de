"""Bring a public release into the landing form: `python -m tasks.import_dataset --source segmm --path DIR`.

Nothing is downloaded; DIR holds the release's own files. What each column becomes is told in
tasks/importers/<source>.py. Exit codes: 0 done, 2 refused input.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from contracts import place
from contracts.errors import DONE, REFUSED_INPUT, InputError
from contracts.place import PROJECT
from tasks.importers import kuairand, movielens, segmm, tiktok
from tasks.importers.release import Release, nights, write

SOURCES: dict[str, Callable[[Path], Release]] = {
    "kuairand": kuairand.read,
    "movielens": movielens.read,
    "segmm": segmm.read,
    "tiktok": tiktok.read,
}
SUGGESTED = 5  # nights


def main(argv: Sequence[str] | None = None) -> int:
    """Read, write, tell."""
    args = _parser().parse_args(argv)
    out = (args.out or place.landing()).resolve()
    try:
        release = SOURCES[args.source](args.path)
        write(release, args.source, out)
    except InputError as error:
        print(f"import_dataset: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    print("\n".join(summary(release, args.source, out)))
    return DONE


def summary(release: Release, source: str, out: Path) -> list[str]:
    """What was written and which nights make sense, in lines of text."""
    counts = [f"{sum(map(len, days.values()))} {kind}" for kind, days in release.kinds.items()]
    lines = [f"{source}: {', '.join(counts)} in {out}", *(f"note: {note}" for note in release.notes)]
    people = release.people_by_day()
    if not people:
        return [*lines, "no events, so no night can be run"]
    lines.append(f"events on {len(people)} days, {min(people)} to {max(people)}")
    possible = nights(release)
    if not possible:
        return [*lines, "no night can be run: none has events on its day, on the day before, and earlier"]
    best = sorted(possible, key=lambda day: (-possible[day], day))[:SUGGESTED]
    told = ", ".join(f"{day} ({possible[day]} people who came before)" for day in best)
    return [
        *lines,
        f"days that can be a night: {len(possible)}, {min(possible)} to {max(possible)}; fullest: {told}",
        f"next: python -m tasks.ingest --night {best[0]} --params {_params(source)}",
    ]


def _params(source: str) -> Path:
    """The release's own parameters; where there are none, the demo's, which need adapting."""
    own = PROJECT / "params" / f"{source}.yaml"
    return own if own.exists() else PROJECT / "params.yaml"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tasks.import_dataset",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", required=True, choices=sorted(SOURCES), help="which release")
    parser.add_argument("--path", required=True, type=Path, help="folder of the release's files")
    parser.add_argument("--out", type=Path, help="landing folder (default: UNDERCURRENT_LANDING)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
