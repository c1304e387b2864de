"""Small worlds for tests."""

from dataclasses import replace
from typing import Any

from contracts.params import Clean, World, load
from contracts.place import PROJECT
from world.calendar import Calendar, calendar

PARAMS = load(PROJECT / "params.yaml")
CLEAN: Clean = replace(PARAMS.clean, bot_events_per_hour=200)
TINY = World(
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
)


def days(**changes: Any) -> Calendar:
    """The calendar of the tiny world with some parameters changed."""
    return calendar(replace(TINY, **changes))
