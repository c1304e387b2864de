"""Make another registered version the champion: the previous one, or the one that --to names.

The one that leaves becomes `previous`, so a second rollback undoes the first; it is marked as rolled back, so
that running its night again does not promote it.
"""

import argparse
import sys
from collections.abc import Sequence

from contracts.errors import DONE, FAILED, REFUSED_INPUT, AwayError, InputError
from contracts.step import tell_without_credentials
from tasks import registry
from tasks.registry import CHAMPION, PREVIOUS, Registry


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit code 0: done, 1: MLflow is away, 2: refused."""
    parser = argparse.ArgumentParser(prog="python -m tasks.rollback", description=__doc__)
    parser.add_argument("--to", metavar="VERSION", help="default: the version with the alias `previous`")
    args = parser.parse_args(argv)
    sys.excepthook = tell_without_credentials
    try:
        left, entered = rollback(args.to)
    except InputError as error:
        print(f"rollback: refused: {error}", file=sys.stderr)
        return REFUSED_INPUT
    except AwayError as away:
        print(f"rollback: failed: {away}", file=sys.stderr)
        return FAILED
    print(f"version {entered} is the champion now, after {left}")
    return DONE


def rollback(to: str | None = None) -> tuple[str | None, str]:
    """Move the champion; returns the version that left and the one that entered.

    Raises:
        InputError: there is no such version, or it is the champion already.
        AwayError: MLflow does not answer.
    """
    from tasks import tracking

    with registry.alone(), tracking.answering():
        models = Registry()
        champion = models.holder(CHAMPION)
        target = models.numbered(to) if to else models.holder(PREVIOUS)
        if target is None:
            known = ", ".join(version.number for version in models.versions()) or "none"
            raise InputError(
                f"model {models.name!r} has no version {to or 'with the alias previous'}; "
                f"name one with --to (there are: {known})"
            )
        if champion and champion.number == target.number:
            raise InputError(f"version {target.number} is the champion already; name another with --to")
        models.tag(target, {"rolled_back": "false"})
        if champion:
            models.tag(champion, {"rolled_back": "true"})
            models.point(PREVIOUS, champion)
        models.point(CHAMPION, target)
    return (champion.number if champion else None), target.number


if __name__ == "__main__":
    sys.exit(main())
