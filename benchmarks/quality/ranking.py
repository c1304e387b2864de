"""Compare the model with the baselines on one data set.

Models are selected on the validation targets and reported on the test targets. The last line is the JSON
result.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.quality.sets import beauty, movielens, movielens1m, segmm, simulator, tiktok
from benchmarks.result import publish_result
from core.errors import REFUSED_INPUT, InputError

DATASETS = {
    "beauty": beauty,
    "movielens": movielens,
    "movielens1m": movielens1m,
    "segmm": segmm,
    "simulator": simulator,
    "tiktok": tiktok,
}


def main() -> int:
    """Run the benchmark.

    Returns:
        0: done. 2: the data is refused.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality.ranking", description=__doc__)
    parser.add_argument("--set", required=True, choices=sorted(DATASETS), help="name of the data set")
    parser.add_argument("--path", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/quality-<set>.json")
    args = parser.parse_args()
    try:
        figures, ratios = DATASETS[args.set].measure(args.path)
    except InputError as error:
        print(f"quality: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    publish_result(f"quality-{args.set}", figures, ratios, args.keep)
    return 0


if __name__ == "__main__":
    sys.exit(main())
