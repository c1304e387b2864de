"""Conversion of a public data set to landing files. datasets/<source>.py documents the columns."""

from collections.abc import Callable
from pathlib import Path

from core.config import load_params
from core.paths import PROJECT_ROOT
from datasets import kuairand, microlens, movielens, segmm, tiktok
from datasets.landing_form import Release, write_landing_files
from datasets.nights import possible_nights, promotable

SOURCES: dict[str, Callable[[Path], Release]] = {
    "kuairand": kuairand.read_landing_form,
    "microlens": microlens.read_landing_form,
    "movielens": movielens.read_landing_form,
    "segmm": segmm.read_landing_form,
    "tiktok": tiktok.read_landing_form,
}
MAX_SUGGESTED_NIGHTS = 5


def import_dataset(source: str, path: Path, out: Path) -> list[str]:
    """Read the files of a data set and write landing files.

    Args:
        source: A key of `SOURCES`.
        path: Folder of the data set's files.
        out: Landing folder.

    Returns:
        A summary in lines of text.

    Raises:
        InputError: A file is missing or malformed.
    """
    release = SOURCES[source](path)
    write_landing_files(release, source, out)
    counts = [f"{sum(map(len, days.values()))} {name}" for name, days in release.days_by_type.items()]
    return [
        *(table.summary() for table in release.tables),
        f"{source}: {', '.join(counts)} in {out}",
        *(f"note: {note}" for note in release.notes),
        *_night_lines(release, _params_file(source)),
    ]


def _night_lines(release: Release, params_file: Path) -> list[str]:
    """Return which nights can be run and promoted, and the command that runs the best one."""
    days = release.days_by_type.get("events")
    if not days:
        return ["no events, so no night can be run"]
    params = load_params(params_file)
    nights = possible_nights(release, params.snapshot.positive_watch_ratio)
    lines = [f"events on {len(days)} days, {min(days)} to {max(days)}"]
    if not nights:
        return [*lines, "no night can be run: none has events on its day, on the day before, and earlier"]
    lines.append(f"days that can be a night: {len(nights)}, {nights[0].day} to {nights[-1].day}")
    large = promotable(nights, params.check.min_rows, params.gate.min_users)
    bounds = f"check.min_rows {params.check.min_rows} and gate.min_users {params.gate.min_users}"
    if not large:
        best = max(nights, key=lambda night: night.test_users)
        return [
            *lines,
            f"no night can be promoted: none reaches {bounds}; {best.day} has the most users with a new"
            f" positive, {best.test_users}, and {best.events} events",
        ]
    listed = ", ".join(f"{night.day} ({night.test_users} users)" for night in large[:MAX_SUGGESTED_NIGHTS])
    return [
        *lines,
        f"nights that reach {bounds}: {len(large)}; those with the most users with a new positive: {listed}",
        f"next: undercurrent night --date {large[0].day} --params {params_file}",
    ]


def _params_file(source: str) -> Path:
    """Return the parameter file of the data set. If there is none, that of the demo, to be adapted."""
    dataset_params = PROJECT_ROOT / "params" / f"{source}.yaml"
    return dataset_params if dataset_params.exists() else PROJECT_ROOT / "params.yaml"
