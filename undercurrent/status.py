"""The status of the nights: how the newest ended, the champion, how fresh the data is, missing days."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from core import paths
from core.errors import InputError, ServiceUnavailableError
from core.paths import Night, parse_day
from core.step_graph import STEPS
from core.text_table import format_table
from evaluation.verdict import NOT_PROMOTED, night_outcome, read_verdict
from lake import landing
from undercurrent.step_state import DONE, NOT_RUN, StepState, changed_upstream, read_state

COMPLETE, INCOMPLETE = "complete", "incomplete"
MAX_REASON = 120  # characters in a table; the report and `--json` have the whole sentence


@dataclass(frozen=True)
class NightStatus:
    """How a night ended.

    Attributes:
        night: YYYY-MM-DD.
        state: Complete, blocked, refused, failed, or incomplete: killed, running, or an early step ran again.
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
    states = {step: read_state(night, step) for step in STEPS}
    state, step, reason = _where_it_stopped(states)
    status = NightStatus(
        str(night.day), state, step, missing_days=_missing_days(states["clean"]), reason=reason
    )
    if state != COMPLETE:
        return status
    verdict, facts = read_verdict(night), states["promote"].manifest["facts"]
    outcome = night_outcome(verdict.promote, facts)
    reason = str(facts.get("outcome")) if outcome == NOT_PROMOTED else verdict.summary
    return replace(status, verdict=outcome, champion=facts.get("champion"), reason=reason)


def _where_it_stopped(states: Mapping[str, StepState]) -> tuple[str, str | None, str]:
    """Return the state of the night, the step where it stopped, and why."""
    for state in states.values():
        if state.outcome not in (DONE, NOT_RUN):
            return state.outcome, state.step, state.reason
    for state in states.values():
        if state.outcome == NOT_RUN:
            return INCOMPLETE, state.step, ""
        if reasons := changed_upstream(state, [states[upstream] for upstream in STEPS[state.step]]):
            return INCOMPLETE, state.step, "; ".join(reasons)
    return COMPLETE, None, ""


def _missing_days(clean: StepState) -> tuple[str, ...]:
    return tuple(clean.manifest["facts"].get("missing_days", ())) if clean.outcome == DONE else ()


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
    lines = [
        f"champion: {f'version {status.champion}' if status.champion else 'none'}",
        f"newest landing day: {status.newest_landing_day or 'none'}",
        f"newest complete night: {_freshness(status)}",
        f"missing days: {', '.join(status.missing_days) or 'none'}",
        *(f"problem: {problem}" for problem in status.problems),
    ]
    return "\n".join([*lines, "", format_nights(status.nights)]) if status.nights else "\n".join(lines)


def _freshness(status: Status) -> str:
    """Return the newest complete night and its age in words."""
    if status.newest_complete_night is None or status.days_old is None:
        return "no night is complete"
    if status.days_old < 0:
        return f"{status.newest_complete_night}, which is after today; correct the clock of this machine"
    return f"{status.newest_complete_night}, {status.days_old} days before today"


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
        textwrap.shorten(night.reason, MAX_REASON, placeholder=" …"),
    )
