"""The status of the nights: how the newest ended, the champion, how fresh the data is, missing days."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from core import paths
from core.errors import InputError, ServiceUnavailableError
from core.paths import Night, parse_day
from core.step_graph import STEPS
from evaluation.verdict import read_verdict
from lake import landing
from undercurrent.step_state import DONE, NOT_RUN, read_state
from undercurrent.text_table import format_table

COMPLETE, INCOMPLETE = "complete", "incomplete"


@dataclass(frozen=True)
class NightStatus:
    """How a night ended.

    Attributes:
        night: YYYY-MM-DD.
        state: Complete, incomplete (killed or running), blocked, refused or failed.
        step: The step that did not complete, None if all did.
        verdict: Promoted, not promoted or refused, None before `promote` has completed.
        champion: The champion's version after the night, None if there was none.
        missing_days: Days that the night left out, because their checks blocked them.
        reason: Why the night stopped, or the summary of the verdict.
    """

    night: str
    state: str
    step: str | None = None
    verdict: str | None = None
    champion: str | None = None
    missing_days: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Status:
    """The state of the pipeline.

    Attributes:
        champion: The version of the champion in the registry, None if there is none.
        newest_landing_day: The newest day with landing files of events, None if there is none.
        newest_complete_night: None if no night is complete.
        days_old: Days from the newest complete night to today in UTC.
        missing_days: Days with landing files, from the first night on, that have no complete night.
        nights: The newest nights, newest first.
        problems: What could not be read, one sentence each.
    """

    champion: str | None
    newest_landing_day: str | None
    newest_complete_night: str | None
    days_old: int | None
    missing_days: tuple[str, ...]
    nights: tuple[NightStatus, ...]
    problems: tuple[str, ...]


def read_status(num_nights: int, today: date) -> Status:
    """Read the state of the pipeline. A server that does not answer is a problem, not an error.

    Args:
        num_nights: How many nights are described.
        today: In UTC.

    Raises:
        InputError: The home cannot be used.
    """
    problems: list[str] = []
    days = _night_days()
    statuses = {day: read_night(Night(day, paths.nights() / str(day))) for day in days}
    complete = [day for day in days if statuses[day].state == COMPLETE]
    landed = _landed_days(problems)
    missing = [day for day in landed if days and day >= days[0] and day not in complete]
    return Status(
        champion=_champion(problems),
        newest_landing_day=str(landed[-1]) if landed else None,
        newest_complete_night=str(complete[-1]) if complete else None,
        days_old=(today - complete[-1]).days if complete else None,
        missing_days=tuple(map(str, missing)),
        nights=tuple(statuses[day] for day in reversed(days[-num_nights:])),
        problems=tuple(problems),
    )


def _night_days() -> list[date]:
    """Return the nights that have a workspace in the home, oldest first."""
    folder = paths.nights()
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(parse_day(name) for name in names if paths.DAY_PATTERN.fullmatch(name))


def read_night(night: Night) -> NightStatus:
    """Read how a night ended from its workspace. A damaged file is the reason of a failed night."""
    try:
        return _read_night(night)
    except InputError as error:
        return NightStatus(str(night.day), "failed", reason=str(error))


def _read_night(night: Night) -> NightStatus:
    states = [read_state(night, step) for step in STEPS]
    stopped = next((state for state in states if state.outcome not in (DONE, NOT_RUN)), None)
    stopped = stopped or next((state for state in states if state.outcome != DONE), None)
    manifests = {state.step: state.manifest for state in states if state.outcome == DONE}
    missing_days = tuple(manifests.get("clean", {}).get("facts", {}).get("missing_days", ()))
    if stopped:
        state = INCOMPLETE if stopped.outcome == NOT_RUN else stopped.outcome
        return NightStatus(
            str(night.day), state, stopped.step, missing_days=missing_days, reason=stopped.reason
        )
    verdict, facts = read_verdict(night), manifests["promote"]["facts"]
    return NightStatus(
        str(night.day),
        COMPLETE,
        verdict=_verdict(verdict.promote, facts),
        champion=facts.get("champion"),
        missing_days=missing_days,
        reason=verdict.summary if verdict.promote == _is_champion(facts) else str(facts.get("outcome", "")),
    )


def _verdict(promote: bool, facts: dict) -> str:
    if not promote:
        return "refused"
    return "promoted" if _is_champion(facts) else "not promoted"


def _is_champion(facts: dict) -> bool:
    return facts.get("version") is not None and facts.get("version") == facts.get("champion")


def _landed_days(problems: list[str]) -> list[date]:
    try:
        return landing.list_days(paths.landing(), "events")
    except (InputError, ServiceUnavailableError) as error:
        problems.append(f"landing files: {error}")
        return []


def _champion(problems: list[str]) -> str | None:
    if (file := paths.sqlite_file(paths.tracking_uri())) and not file.exists():
        return None  # MLflow would create the database
    from registry import tracking  # MLflow takes seconds to import
    from registry.model_registry import CHAMPION, ModelRegistry

    try:
        with tracking.translate_errors():
            version = ModelRegistry().get_by_alias(CHAMPION)
    except (InputError, ServiceUnavailableError) as error:
        problems.append(f"registry: {error}")
        return None
    return version.number if version else None


def format_status(status: Status) -> str:
    """Return the status in lines of text."""
    freshness = "no night is complete"
    if status.newest_complete_night:
        freshness = f"{status.newest_complete_night}, {status.days_old} days before today"
    lines = [
        f"champion: {f'version {status.champion}' if status.champion else 'none'}",
        f"newest landing day: {status.newest_landing_day or 'none'}",
        f"newest complete night: {freshness}",
        f"missing days: {', '.join(status.missing_days) or 'none'}",
        *(f"problem: {problem}" for problem in status.problems),
    ]
    return "\n".join([*lines, "", format_nights(status.nights)]) if status.nights else "\n".join(lines)


def format_nights(nights: Sequence[NightStatus]) -> str:
    """Return one line for each night."""
    header = ("night", "state", "stopped at", "verdict", "champion", "left out", "reason")
    return format_table([header, *map(_cells, nights)])


def _cells(night: NightStatus) -> tuple[str, ...]:
    return (
        night.night,
        night.state,
        night.step or "-",
        night.verdict or "-",
        night.champion or "-",
        ", ".join(night.missing_days) or "-",
        night.reason,
    )
