"""Propose params.yaml for a landing folder."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from core.config import IngestConfig, Params, load_params
from core.config.models import InterestModelConfig
from core.errors import InputError
from core.paths import PROJECT_ROOT
from core.records import LANDING_TYPES
from core.storage import StoragePath, storage_path
from core.tables import MODALITIES
from lake import landing
from lake.landing import LandingLimits
from lake.landing_batches import read_batches

MAX_RECORDS = 200_000  # of each landing type; the newest files are read first
MAX_CATEGORIES = 50  # values of a column with categories; a column with more is a number or is left out
MIN_LATE_SHARE = 0.001  # of the events; fewer late ones do not raise clean.late_days
MAX_LATE_DAYS = 7
CONTEXTS = ("device", "network")
SOURCE_FIELDS = {"creator_affinity": "author_id", "category_affinity": "category"}  # of a video


@dataclass
class LandingSummary:
    """What the newest records of a landing folder hold.

    Attributes:
        days: Days with events, oldest first.
        events_by_day: Events that were read, by day received.
        late_days: Days by which an event arrived late -> events.
        contexts: Context fields that an event has.
        video_fields: Fields that a video has.
        landed_modalities: Modalities with ready-made vectors.
        profile_values: Profile column -> its values, at most one more than MAX_CATEGORIES of them.
        not_numbers: Profile columns with a value that is no number.
    """

    days: list[date]
    events_by_day: Counter[date] = field(default_factory=Counter)
    late_days: Counter[int] = field(default_factory=Counter)
    contexts: set[str] = field(default_factory=set)
    video_fields: set[str] = field(default_factory=set)
    landed_modalities: set[str] = field(default_factory=set)
    profile_values: dict[str, set[str]] = field(default_factory=dict)
    not_numbers: set[str] = field(default_factory=set)


def write_params(root: Path, out: Path, night: date | None) -> list[str]:
    """Propose parameters for a landing folder, and write them as a file that changes params.yaml.

    Args:
        root: Landing folder.
        out: The file. It must not exist.
        night: The night. Default: the newest day with events.

    Returns:
        A summary in lines of text.

    Raises:
        InputError: The file exists, the folder has too few days of events, or a file cannot be read.
    """
    if out.exists():
        raise InputError(f"{out} exists; move it away, or choose another file with --out")
    base = PROJECT_ROOT / "params.yaml"
    summary = summarize(root, load_params(base).ingest, night)
    out.write_text(format_params(summary, load_params(base), Path(os.path.relpath(base, out.parent))))
    params = load_params(out)
    unused = sorted(
        summary.profile_values.keys()
        - {*params.snapshot.profile_categories, *params.snapshot.profile_numbers}
    )
    lines = [f"{out}: night {params.night}, {len(summary.days)} days of events from {summary.days[0]} on"]
    if unused:
        lines.append(f"profile columns left out, because they have many values: {', '.join(unused)}")
    return [*lines, f"next: undercurrent night --date {params.night} --params {out}"]


def summarize(root: Path, params: IngestConfig, night: date | None) -> LandingSummary:
    """Read the newest records of each landing type, up to the night.

    Raises:
        InputError: There are events on fewer than three days, or not on the night, or a file cannot be read.
    """
    folder = storage_path(str(root))
    days = sorted(day for day in landing.list_days(folder, "events") if night is None or day <= night)
    if len(days) < 3 or (night and night not in days):
        until = f" up to {night}" if night else ""
        raise InputError(
            f"{root}/events has folders of {len(days)} days{until}; a night needs events on its day, on the"
            " day before and on an earlier day (docs/data-contract.md)"
        )
    summary = LandingSummary(days)
    readers = {"events": _add_events, "users": _add_users, "videos": _add_videos, "features": _add_features}
    for name, add in readers.items():
        for day, rows in _newest_rows(folder, name, days[-1], params):
            add(summary, day, rows)
    return summary


def _newest_rows(
    root: StoragePath, name: str, until: date, params: IngestConfig
) -> Iterator[tuple[date, pa.Table]]:
    """Yield the valid records of the newest files, up to about MAX_RECORDS."""
    limits = LandingLimits.from_params(params)
    left = MAX_RECORDS
    for day in sorted((day for day in landing.list_days(root, name) if day <= until), reverse=True):
        for path in landing.list_files(root, name, day):
            for batch in read_batches(path, LANDING_TYPES[name], limits, params.batch_rows):
                yield day, batch.rows
                left -= batch.rows.num_rows
                if left <= 0:
                    return


def _add_events(summary: LandingSummary, day: date, rows: pa.Table) -> None:
    summary.events_by_day[day] += rows.num_rows
    event_days = rows["event_time"].cast(pa.date32()).drop_null()
    days_late = pc.days_between(event_days, pa.scalar(day, pa.date32()))
    for entry in pc.value_counts(days_late).to_pylist():
        summary.late_days[entry["values"]] += entry["counts"]
    summary.contexts |= {name for name in CONTEXTS if rows[name].null_count < rows.num_rows}


def _add_videos(summary: LandingSummary, day: date, rows: pa.Table) -> None:
    summary.video_fields |= {name for name in rows.schema.names if rows[name].null_count < rows.num_rows}


def _add_features(summary: LandingSummary, day: date, rows: pa.Table) -> None:
    summary.landed_modalities |= set(pc.unique(rows["modality"]).to_pylist())


def _add_users(summary: LandingSummary, day: date, rows: pa.Table) -> None:
    entries = rows["profile"].combine_chunks()
    pairs = pa.table({"name": entries.keys, "value": entries.items}).group_by(["name", "value"]).aggregate([])
    for pair in pairs.to_pylist():
        values = summary.profile_values.setdefault(pair["name"], set())
        if len(values) <= MAX_CATEGORIES:
            values.add(pair["value"])
        if not _is_number(pair["value"]):
            summary.not_numbers.add(pair["name"])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def format_params(summary: LandingSummary, defaults: Params, base: Path) -> str:
    """Return the text of a parameter file that holds only what differs from `base`."""
    sections = {
        "clean": {"late_days": _late_days(summary)},
        "sequences": {"validation_days": min(defaults.sequences.validation_days, len(summary.days) - 2)},
        "embed": _encoders(summary),
        "check": {"min_rows": min(defaults.check.min_rows, min(summary.events_by_day.values()) // 2)},
        "snapshot": _profile_columns(summary),
    }
    lines = [f"base: {base.as_posix()}", f'night: "{summary.days[-1]}"']
    for name, values in sections.items():
        section = defaults.section(name)
        changed = {key: value for key, value in values.items() if getattr(section, key) != value}
        if changed:
            lines += ["", f"{name}:", *(f"  {key}: {_format(value)}" for key, value in changed.items())]
    if changed := _model_changes(summary, defaults.train.model):
        lines += ["", "train:", "  model:"]
        lines += [f"    {key}: {_format(value)}" for key, value in changed.items()]
    return "\n".join(lines) + "\n"


def _model_changes(summary: LandingSummary, model: object) -> dict[str, object]:
    """Return the contexts and sources that the data has, as far as the model has others."""
    if not isinstance(model, InterestModelConfig):
        return {}
    values: dict[str, object] = {
        "contexts": tuple(name for name in model.contexts if name in summary.contexts),
        "sources": tuple(name for name in model.sources if _has_field(summary, name)),
    }
    return {key: value for key, value in values.items() if getattr(model, key) != value}


def _late_days(summary: LandingSummary) -> int:
    """Return the days that nearly all late events need. Events from the future are left out."""
    late = {days: count for days, count in summary.late_days.items() if days >= 0}
    total = sum(late.values())
    for limit in range(MAX_LATE_DAYS):
        if sum(count for days, count in late.items() if days > limit) <= MIN_LATE_SHARE * total:
            return limit
    return MAX_LATE_DAYS


def _encoders(summary: LandingSummary) -> Mapping[str, str]:
    """Return the encoder of each modality: landed vectors, the default, or none without content."""
    content = {"visual": "media_uri", "text": "caption", "audio": "media_uri"}
    return {
        modality: "landed"
        if modality in summary.landed_modalities
        else ("default" if content[modality] in summary.video_fields else "none")
        for modality in MODALITIES
    }


def _profile_columns(summary: LandingSummary) -> Mapping[str, tuple[str, ...]]:
    few = {name: len(values) <= MAX_CATEGORIES for name, values in sorted(summary.profile_values.items())}
    return {
        "profile_categories": tuple(
            name for name in few if few[name] and len(summary.profile_values[name]) > 1
        ),
        "profile_numbers": tuple(name for name in few if not few[name] and name not in summary.not_numbers),
    }


def _has_field(summary: LandingSummary, source: str) -> bool:
    return source not in SOURCE_FIELDS or SOURCE_FIELDS[source] in summary.video_fields


def _format(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)
