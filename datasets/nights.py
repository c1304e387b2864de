"""The days of a release that can be a night, and how many users each of them measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from core.tables import BEHAVIOUR_EVENTS
from datasets.landing_form import Release
from models.data.labels import POSITIVE_BEHAVIOURS, is_positive

EVENT_FIELDS = {"user_id": pl.String, "video_id": pl.String, "event_type": pl.String, "watch_ms": pl.Int64}
VIDEO_FIELDS = {"video_id": pl.String, "duration_ms": pl.Int64}


@dataclass(frozen=True)
class PossibleNight:
    """A day that can be a night.

    Attributes:
        day: The day.
        events: Events on the day.
        test_users: Users with a positive on a video that is new to them. The evaluation measures them.
        known_users: Those of them that have events on an earlier day.
    """

    day: date
    events: int
    test_users: int
    known_users: int


def possible_nights(release: Release, positive_watch_ratio: float) -> list[PossibleNight]:
    """Return the days with events on the day, on the day before (validation) and earlier (training).

    Args:
        release: The release.
        positive_watch_ratio: From this watch ratio on, a view is positive.
    """
    events = _read_events(release)
    pairs = _new_positives(events, release, positive_watch_ratio)
    first_days = events.group_by("user_id").agg(first_day=pl.min("day"))
    users = pairs.join(first_days, on="user_id").group_by("day", "user_id").agg(pl.first("first_day"))
    counts = users.group_by("day").agg(
        test_users=pl.len(), known_users=(pl.col("first_day") < pl.col("day")).sum()
    )
    num_events = events.group_by("day").agg(events=pl.len())
    days = num_events.join(counts, on="day", how="left").fill_null(0).sort("day")
    before, first = days["day"].to_list(), days["day"].min()
    return [
        PossibleNight(**row)
        for row in days.select("day", "events", "test_users", "known_users").to_dicts()
        if row["day"] - timedelta(1) in before and row["day"] - timedelta(2) >= first
    ]


def _read_events(release: Release) -> pl.DataFrame:
    """Return the events with the day received."""
    days = release.days_by_type.get("events", {})
    frames = [
        pl.DataFrame(events, EVENT_FIELDS).with_columns(day=pl.lit(day)) for day, events in days.items()
    ]
    return pl.concat([pl.DataFrame(schema={**EVENT_FIELDS, "day": pl.Date}), *frames])


def _new_positives(events: pl.DataFrame, release: Release, positive_watch_ratio: float) -> pl.DataFrame:
    """Return `user_id`, `video_id` and `day` of the positives on videos that are new to the user."""
    videos = pl.concat(
        [
            pl.DataFrame(schema=VIDEO_FIELDS),
            *(pl.DataFrame(rows, VIDEO_FIELDS) for rows in release.days_by_type.get("videos", {}).values()),
        ]
    ).unique("video_id", keep="any")
    behaviours = {name: (pl.col("event_type") == kind).any() for name, kind in BEHAVIOUR_EVENTS.items()}
    by_day = events.group_by("user_id", "video_id", "day").agg(pl.max("watch_ms"), **behaviours)
    by_day = by_day.join(videos, on="video_id").with_columns(
        watch_ratio=pl.col("watch_ms") / pl.col("duration_ms"),
        is_new=pl.col("day") == pl.col("day").min().over("user_id", "video_id"),
    )
    flags = {name: by_day[name].to_arrow() for name in ("viewed", "disliked", *POSITIVE_BEHAVIOURS)}
    positive = pl.Series(is_positive(flags, by_day["watch_ratio"].to_arrow(), positive_watch_ratio))
    return by_day.filter(positive & pl.Series(by_day["is_new"])).select("user_id", "video_id", "day")


def promotable(nights: Sequence[PossibleNight], min_events: int, min_users: int) -> list[PossibleNight]:
    """Return the nights that are not refused for their size, those with the most test users first.

    Args:
        nights: The possible nights.
        min_events: `check.min_rows`. Fewer events block the night.
        min_users: `gate.min_users`. Fewer test users promote no model.
    """
    large = [night for night in nights if night.events >= min_events and night.test_users >= min_users]
    return sorted(large, key=lambda night: (-night.test_users, night.day))
