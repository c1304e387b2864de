"""The mechanism `topics`: users prefer some of the twelve topics, and each modality of a video has one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.tables import MODALITIES
from simulator.calendar import Calendar
from simulator.catalogue import SimulatedVideo, VideoArrays, make_videos, to_arrays, video_row
from simulator.mechanisms.interface import Session
from simulator.mechanisms.topic_feed import choose_videos
from simulator.mechanisms.topic_users import (
    GroupPreferences,
    TopicUser,
    affinity,
    make_group_preferences,
    make_users,
)
from simulator.seeds import make_rng
from simulator.topics import TOPICS
from simulator.vectors import WIDTHS, topic_vectors
from simulator.watching import DEVICE_PATIENCE, QUALITY_WEIGHT, SimulatedInteraction, draw_interaction

SECONDS_PER_DAY = 86_400
DAYPART_EFFECT_SCALE = 0.3  # how much the time of day changes preferences
DAYPARTS = 4
MIN_FEED_LENGTH = 8  # smallest number of videos of a session
MEAN_EXTRA_VIDEOS = 6  # mean number of videos above the smallest


@dataclass(kw_only=True)
class Topics:
    """A platform of users with preferences for topics.

    Attributes:
        users: all users.
        videos: the videos as the platform knows them.
        watched_content: what decides watching. It is `videos`, except if content carries nothing.
        daypart_effects: [4, 12] what each part of the day adds to the preference for each topic.
        has_trend: whether many tastes change on one day.
        video_arrays: `watched_content` as arrays.
        seen: [U, V] whether the user was shown the video before.
        view_counts: [V] views until the end of the previous day.
    """

    calendar: Calendar
    group_preferences: GroupPreferences
    users: list[TopicUser]
    videos: list[SimulatedVideo]
    watched_content: list[SimulatedVideo]
    daypart_effects: np.ndarray
    has_trend: bool = True
    video_arrays: VideoArrays = field(init=False)
    seen: np.ndarray = field(init=False)
    view_counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.video_arrays = to_arrays(self.watched_content)
        self.seen = np.zeros((len(self.users), len(self.videos)), bool)
        self.view_counts = np.zeros(len(self.videos))

    def choose_feed(self, random: np.random.Generator, session: Session) -> Iterator[int]:
        """Choose the feed at the start of the session."""
        preferences = affinity(
            self.users[session.user_row],
            session.day,
            self._daypart_effect(session),
            self.video_arrays.topics,
        )
        feed = choose_videos(
            random,
            MIN_FEED_LENGTH + int(random.poisson(MEAN_EXTRA_VIDEOS)),
            age_days=(session.clock - self.video_arrays.upload_time) / SECONDS_PER_DAY,
            view_counts=self.view_counts,
            affinity=preferences + QUALITY_WEIGHT * self.video_arrays.quality,
            seen=self.seen[session.user_row],
        )
        yield from feed.tolist()

    def watch(
        self, random: np.random.Generator, session: Session, video_row: int, context: Mapping[str, Any]
    ) -> SimulatedInteraction:
        """Draw what the user does with a video that is shown."""
        return simulate_watch(
            random,
            self.users[session.user_row],
            self.videos[video_row],
            session.day,
            self._daypart_effect(session),
            self.watched_content[video_row],
            **context,
        )

    def record_interaction(
        self, random: np.random.Generator, session: Session, interaction: SimulatedInteraction
    ) -> None:
        """Mark the video as seen."""
        self.seen[session.user_row, video_row(interaction.video)] = True

    def end_day(self, day: int, interactions: Sequence[SimulatedInteraction]) -> None:
        """Count the views of the day."""
        for interaction in interactions:
            if interaction.watched_ms is not None:
                self.view_counts[video_row(interaction.video)] += 1

    def modality_vectors(self) -> dict[str, np.ndarray]:
        """Return the noisy vectors of the topics, for each modality."""
        topics = np.array([video.topics for video in self.videos])
        return {
            modality: topic_vectors(self.calendar.params.seed, modality, topics[:, column], WIDTHS[modality])
            for column, modality in enumerate(MODALITIES)
        }

    def summary(self) -> dict[str, Any]:
        """Return the topics, the trend and the effects of the time of day."""
        trending_topics = {
            age: [TOPICS[topic].name for topic in topics]
            for age, topics in self.group_preferences.trending_topics.items()
        }
        return {
            "topics": [topic.name for topic in TOPICS],
            "trend_day": str(self.calendar.date(self.calendar.trend_day)) if self.has_trend else None,
            "trending_topics": trending_topics if self.has_trend else {},
            "daypart_effects": self.daypart_effects.round(6).tolist(),
        }

    def user_truth(self, user_row: int) -> dict[str, Any]:
        """Return the user's preferences."""
        user = self.users[user_row]
        return {
            "initial_preference": user.initial_preference.tolist(),
            "drifted_preference": user.drifted_preference.tolist(),
            "drift_day": user.drift_day,
            "tastes": np.array([user.preference_on(day) for day in range(self.calendar.num_days)]),
        }

    def video_truth(self, video_row: int) -> dict[str, Any]:
        """Return the topics and the appeal that decide watching."""
        content = self.watched_content[video_row]
        return {
            **dict(zip(MODALITIES, content.topics, strict=True)),
            "segment_topics": content.segment_topics,
            "segment_appeal": content.segment_appeal,
        }

    def _daypart_effect(self, session: Session) -> np.ndarray:
        return self.daypart_effects[int(session.hour * DAYPARTS / 24)]


def make_topics(calendar: Calendar) -> Topics:
    """Make the platform as it is at the start of day 0."""
    seed = calendar.params.seed
    group_preferences = make_group_preferences(seed)
    videos = make_videos(seed, calendar)
    return Topics(
        calendar=calendar,
        group_preferences=group_preferences,
        users=make_users(seed, calendar, group_preferences),
        videos=videos,
        watched_content=videos,
        daypart_effects=DAYPART_EFFECT_SCALE * make_rng(seed, "mood").normal(size=(DAYPARTS, len(TOPICS))),
    )


def simulate_watch(
    random: np.random.Generator,
    user: TopicUser,
    video: SimulatedVideo,
    day: int,
    daypart_effect: np.ndarray,
    content: SimulatedVideo | None = None,
    **context: Any,
) -> SimulatedInteraction:
    """Simulate that a video is shown to a user.

    Args:
        daypart_effect: [12] what the time of day adds to the preference for each topic.
        content: what decides watching; None stands for the video itself.
        context: `started_at`, `device`, `network` and `feed_position` of the interaction.
    """
    content = content or video
    segment_topics = np.array([(topic, *content.topics[1:]) for topic in content.segment_topics])
    affinity_T = (
        affinity(user, day, daypart_effect, segment_topics)
        + QUALITY_WEIGHT * content.quality
        + DEVICE_PATIENCE[context["device"]]
    )
    return draw_interaction(random, user, video, affinity_T, np.array(content.segment_appeal), **context)
