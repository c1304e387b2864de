"""The mechanisms `noise`, `impersonal` and `static`: `topics` with one thing removed.

A model that finds the removed thing in their data is wrong.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from core.tables import MODALITIES
from simulator.calendar import Calendar
from simulator.catalogue import (
    NUM_AUTHORS,
    SimulatedVideo,
    draw_segment_appeal,
    draw_segment_topics,
    draw_topics,
    make_author_id,
    make_caption,
)
from simulator.mechanisms.topic_users import make_users, standardise
from simulator.mechanisms.topics import Topics, make_topics
from simulator.seeds import make_rng
from simulator.topics import TOPICS
from simulator.vectors import WIDTHS, noise_vectors


class Noise(Topics):
    """A platform whose feature vectors are noise, because its content carries nothing."""

    def modality_vectors(self) -> dict[str, np.ndarray]:
        """Return pure noise."""
        seed, num_videos = self.calendar.params.seed, len(self.videos)
        return {name: noise_vectors(seed, name, num_videos, width) for name, width in WIDTHS.items()}


def make_noise(calendar: Calendar) -> Noise:
    """Make `topics` without information in the content.

    The topics that decide watching are hidden. Frames, sound, caption, hashtags, music, category and author
    come from an independent draw for each video.
    """
    topics = make_topics(calendar)
    videos = [
        _disguise(video, make_rng(calendar.params.seed, "noise", number))
        for number, video in enumerate(topics.videos)
    ]
    return Noise(
        calendar=calendar,
        group_preferences=topics.group_preferences,
        users=topics.users,
        videos=videos,
        watched_content=topics.videos,
        daypart_effects=topics.daypart_effects,
    )


def _disguise(video: SimulatedVideo, random: np.random.Generator) -> SimulatedVideo:
    """Replace all that the platform can see of a video, except its duration and times."""
    topics = draw_topics(random, main_topic=int(random.integers(len(TOPICS))))
    caption, hashtags = make_caption(random, topics[1])
    segments = len(video.segment_topics)
    return replace(
        video,
        topics=topics,
        segment_topics=draw_segment_topics(random, topics[0], segments),
        segment_appeal=draw_segment_appeal(random, segments),
        author_id=make_author_id(int(random.integers(NUM_AUTHORS))),
        caption=caption,
        hashtags=hashtags,
    )


def make_impersonal(calendar: Calendar) -> Topics:
    """Make `topics` with users who all have one preference, equal modality weights and no drift.

    The preference is the same at every time of day. The users still differ in habits and device.
    """
    topics = make_topics(calendar)
    preference = standardise(make_rng(calendar.params.seed, "impersonal").normal(size=len(TOPICS)))
    alike: dict[str, Any] = {
        "initial_preference": preference,
        "drifted_preference": preference,
        "drift_day": None,
        "modality_weights": np.full(len(MODALITIES), 1 / len(MODALITIES)),
    }
    return replace(
        topics,
        users=[replace(user, **alike) for user in topics.users],
        daypart_effects=np.zeros_like(topics.daypart_effects),
        has_trend=False,
    )


def make_static(calendar: Calendar) -> Topics:
    """Make `topics` without the trend and without individual drift."""
    topics = make_topics(calendar)
    without_trend = replace(calendar, params=replace(calendar.params, drift_share=0.0))
    users = make_users(calendar.params.seed, without_trend, topics.group_preferences)
    return replace(
        topics,
        users=[replace(user, drifted_preference=user.initial_preference, drift_day=None) for user in users],
        has_trend=False,
    )
