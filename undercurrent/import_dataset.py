"""Conversion of a public data set to landing files. datasets/<source>.py documents the columns."""

from collections.abc import Callable
from pathlib import Path

from core.paths import PROJECT_ROOT
from datasets import kuairand, movielens, segmm, tiktok
from datasets.landing_form import Release, possible_nights, write_landing_files

SOURCES: dict[str, Callable[[Path], Release]] = {
    "kuairand": kuairand.read_landing_form,
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
    return summary(release, source, out)


def summary(release: Release, source: str, out: Path) -> list[str]:
    """Return what was written and which nights can be run, in lines of text."""
    counts = [
        f"{sum(map(len, days.values()))} {record_type}" for record_type, days in release.days_by_type.items()
    ]
    lines = [f"{source}: {', '.join(counts)} in {out}", *(f"note: {note}" for note in release.notes)]
    users_by_day = release.users_by_day()
    if not users_by_day:
        return [*lines, "no events, so no night can be run"]
    lines.append(f"events on {len(users_by_day)} days, {min(users_by_day)} to {max(users_by_day)}")
    valid_nights = possible_nights(release)
    if not valid_nights:
        return [*lines, "no night can be run: none has events on its day, on the day before, and earlier"]
    best = sorted(valid_nights, key=lambda day: (-valid_nights[day], day))[:MAX_SUGGESTED_NIGHTS]
    suggestions = ", ".join(f"{day} ({valid_nights[day]} known users)" for day in best)
    return [
        *lines,
        f"days that can be a night: {len(valid_nights)}, {min(valid_nights)} to {max(valid_nights)};"
        f" with the most users: {suggestions}",
        f"next: python -m tasks.ingest --night {best[0]} --params {_params_file(source)}",
    ]


def _params_file(source: str) -> Path:
    """Return the parameter file of the data set. If there is none, that of the demo, to be adapted."""
    dataset_params = PROJECT_ROOT / "params" / f"{source}.yaml"
    return dataset_params if dataset_params.exists() else PROJECT_ROOT / "params.yaml"
