"""Small simulated platforms for tests."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.config import CleanConfig, SimulatorConfig, load_params
from core.paths import PROJECT_ROOT
from simulator.calendar import Calendar, make_calendar

PARAMS = load_params(PROJECT_ROOT / "params.yaml")
CLEAN: CleanConfig = replace(PARAMS.clean, bot_events_per_hour=200)
TINY = SimulatorConfig(
    mechanism="topics",
    seed=3,
    first_day="2026-03-02",
    users=12,
    videos=6,
    history_days=2,
    nights=0,
    new_users_per_day=1,
    new_videos_per_day=1,
    drift_share=0.5,
    outage_night=0,
    trend_night=0,
    outage_share=0.5,
    personalised_feed=0.0,
)


@dataclass(frozen=True)
class SimulatedPlatform:
    """The folders of a simulated platform."""

    landing: Path
    ground_truth: Path
    counts: dict[str, int]


def small_calendar(**changes: Any) -> Calendar:
    """The calendar of the tiny platform with some parameters changed."""
    return make_calendar(replace(TINY, **changes))
