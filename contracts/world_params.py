"""Section world of params.yaml: the demo world, which no step of the pipeline reads."""

from dataclasses import dataclass

from contracts.strict import Count, Seed, Share, Whole


@dataclass(frozen=True)
class World:
    """The demo world's size; `python -m world` makes it. All of it is synthetic and labelled so.

    users, videos: at the end of the history week; new ones arrive every day.
    history_days, nights: days before the first night, and simulated nights.
    drift_share: share of the people whose taste changes on the last day of the history, the same way for
        everybody of an age band; another tenth of the people change each on a day and in a way of their own.
    outage_night: the night (from 1; 0: none) on whose day the platform can hardly be reached.
    trend_night: the night (from 1; 0: the last day of the history) on whose day many tastes change at once.
    outage_share: share of the people who can reach it on that day.
    """

    seed: Seed
    first_day: str
    users: Count
    videos: Count
    history_days: Count
    nights: Whole
    new_users_per_day: Whole
    new_videos_per_day: Whole
    drift_share: Share
    outage_night: Whole
    trend_night: Whole
    outage_share: Share
