"""A night whose input is spoilt on the way: half of its events lose their user. And the file mended again."""

import os
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from contracts.errors import InputError
from world.deliver import EVENTS, LABEL_FILE
from world.seeds import rng
from world.truth import write_poison

ASIDE = f"_mended-{EVENTS}"  # names that start with `_` are not taken in


def poison(landing: Path, truth: Path, night: date, seed: int) -> int:
    """Take the user from half of the night's events; the good file is kept aside.

    Returns:
        how many events lost their user.

    Raises:
        InputError: there is no such night in this world, or it is poisoned already.
    """
    path = _events_file(landing, night)
    aside = path.with_name(ASIDE)
    if aside.exists():
        raise InputError(f"{path} is poisoned already; `python -m world mend --night {night}` puts it right")
    good = path.read_bytes()
    lines = good.splitlines()
    events = {index: event for index, line in enumerate(lines) if (event := _event(line)) is not None}
    random = rng(seed, "poison", night.toordinal())
    hit = sorted(random.permutation(list(events))[: len(events) // 2].tolist())
    for index in hit:
        lines[index] = msgspec.json.encode(events[index] | {"user_id": None})
    _replace(aside, good)
    _replace(path, b"".join(line + b"\n" for line in lines))
    write_poison(truth, path.relative_to(landing).as_posix(), [index + 1 for index in hit])
    return len(hit)


def mend(landing: Path, night: date) -> None:
    """Put the night's good events file back.

    Raises:
        InputError: there is no such night in this world, or it is not poisoned.
    """
    path = _events_file(landing, night)
    aside = path.with_name(ASIDE)
    if not aside.exists():
        raise InputError(f"{path} is not poisoned: there is no {ASIDE} beside it to put back")
    aside.replace(path)


def _events_file(landing: Path, night: date) -> Path:
    path = landing / "events" / f"dt={night}" / EVENTS
    if not (landing / LABEL_FILE).exists() or not path.exists():
        raise InputError(
            f"{path} is not a night of a demo world; run `python -m world make` or give another --night"
        )
    return path


def _event(line: bytes) -> dict[str, Any] | None:
    """The event of a line that has a user to lose."""
    try:
        event = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return event if event.get("user_id") else None


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"_{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
