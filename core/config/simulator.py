"""The section `simulator` of params.yaml. No step of the pipeline reads it."""

from dataclasses import dataclass
from typing import Literal

from core.schema import NonNegativeInt, PositiveInt, Seed, UnitInterval


@dataclass(frozen=True)
class SimulatorConfig:
    """The size and events of the demo platform. All its data is synthetic and labelled so.

    Attributes:
        mechanism: what decides who watches what (docs/how-to/simulate.md).
        seed: seed of all random draws.
        first_day: the first day, YYYY-MM-DD.
        users, videos: users and videos at the end of the history. More arrive every day.
        history_days: days before the first night.
        nights: simulated nights.
        new_users_per_day, new_videos_per_day: users and videos that arrive each day.
        drift_share: share of the users with an interest drift on the day of `trend_night`. It is the same for
            all users of an age band. Another tenth of the users drift alone, each on a different day. Only
            `topics` and `noise` read it and `trend_night`.
        outage_night: the night (from 1; 0: none) on whose day few users can reach the platform.
        trend_night: the night (from 1; 0: the last day of the history) on whose day many tastes change.
        outage_share: share of the users who can reach the platform on the day of the outage.
        personalised_feed: share of the platform's own choices that follow a noisy estimate of the user's
            taste. The others follow popularity. Only `sessions` and `ephemeral` read it.
    """

    mechanism: Literal["topics", "noise", "impersonal", "static", "sessions", "ephemeral"]
    seed: Seed
    first_day: str
    users: PositiveInt
    videos: PositiveInt
    history_days: PositiveInt
    nights: NonNegativeInt
    new_users_per_day: NonNegativeInt
    new_videos_per_day: NonNegativeInt
    drift_share: UnitInterval
    outage_night: NonNegativeInt
    trend_night: NonNegativeInt
    outage_share: UnitInterval
    personalised_feed: UnitInterval
