"""Corrupt the input of a night (half of its events lose their user), and repair it."""

import os
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from core.errors import InputError
from simulator.ground_truth import write_faulty_night
from simulator.seeds import make_rng
from simulator.writer import EVENTS, LABEL_FILE

BACKUP_NAME = f"_original-{EVENTS}"  # names that start with `_` are not ingested


def corrupt_night(landing: Path, ground_truth: Path, night: date, seed: int) -> int:
    """Remove the user from half of the night's events and keep the original file as a backup.

    Returns:
        the number of changed events.

    Raises:
        InputError: the simulation has no such night, or the night is corrupted already.
    """
    path = _events_file(landing, night)
    backup = path.with_name(BACKUP_NAME)
    if backup.exists():
        raise InputError(
            f"{path} is corrupted already; run `python -m simulator repair --night {night}` first"
        )
    original = path.read_bytes()
    lines = original.splitlines()
    events = {
        index: event
        for index, line in enumerate(lines)
        if (event := _parse_event_with_user(line)) is not None
    }
    random = make_rng(seed, "poison", night.toordinal())
    corrupted = sorted(random.permutation(list(events))[: len(events) // 2].tolist())
    for index in corrupted:
        lines[index] = msgspec.json.encode(events[index] | {"user_id": None})
    _write_atomically(backup, original)
    _write_atomically(path, b"".join(line + b"\n" for line in lines))
    write_faulty_night(ground_truth, path.relative_to(landing).as_posix(), [index + 1 for index in corrupted])
    return len(corrupted)


def repair_night(landing: Path, night: date) -> None:
    """Restore the night's original events file.

    Raises:
        InputError: the simulation has no such night, or the night is not corrupted.
    """
    path = _events_file(landing, night)
    backup = path.with_name(BACKUP_NAME)
    if not backup.exists():
        raise InputError(
            f"{path} is not corrupted: its folder has no backup {BACKUP_NAME}; give the corrupted --night"
        )
    backup.replace(path)


def _events_file(landing: Path, night: date) -> Path:
    path = landing / "events" / f"dt={night}" / EVENTS
    if not (landing / LABEL_FILE).exists() or not path.exists():
        raise InputError(
            f"{path} is not a night of a simulation; run `python -m simulator make`, or give another --night"
        )
    return path


def _parse_event_with_user(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line, None if the line is broken or has no user."""
    try:
        event = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return event if event.get("user_id") else None


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"_{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
