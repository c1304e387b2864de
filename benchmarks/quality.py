"""Ours beside the baselines on one data set.

Chosen on validation, told on the test part. The last line is the JSON result.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.result import publish
from benchmarks.sets import beauty, movielens, segmm, tiktok, world
from contracts.errors import REFUSED_INPUT, InputError

SETS = {"beauty": beauty, "movielens": movielens, "segmm": segmm, "tiktok": tiktok, "world": world}


def main() -> int:
    """Command line; exit code 2 when the data is not what it should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--set", required=True, choices=sorted(SETS), help="which data and which question")
    parser.add_argument("--path", type=Path, required=True, help="folder of the data")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/quality-<set>.json")
    args = parser.parse_args()
    try:
        figures, ratios = SETS[args.set].measure(args.path)
    except InputError as error:
        print(f"quality: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    publish(f"quality-{args.set}", figures, ratios, args.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
