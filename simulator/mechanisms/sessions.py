"""The mechanism `sessions`: themes within a session, series, followed creators, and gradual drift.

It shares with `topics` when users come and how reactions and logs are drawn, but not what users like, what
they are shown and how long they watch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.tables import MODALITIES
from simulator import comments
from simulator.calendar import Calendar
from simulator.catalogue import SEGMENT_SECONDS, video_row
from simulator.mechanisms.interface import Session
from simulator.mechanisms.latent_feed import (
    VIEW_HALF_LIFE_DAYS,
    LatentArrays,
    draw_row,
    personalised_log_weights,
    popularity_log_weights,
    to_latent_arrays,
)
from simulator.mechanisms.latent_users import LatentUser, make_latent_users
from simulator.mechanisms.latent_videos import NUM_THEMES, LatentVideo, make_latent_videos
from simulator.users import softmax
from simulator.vectors import WIDTHS, tanh_vectors
from simulator.watching import SimulatedInteraction, draw_reactions, sigmoid

MAX_FEED_LENGTH = 40
LEAVE_PROBABILITY, LEAVE_AFTER_SKIP = 0.045, 0.03  # before each next video; the second for each skip so far
SOURCE_RATES = {"platform": 0.55, "theme": 0.3, "following": 0.15}
CHOICE_WEIGHT, CHOICE_POPULARITY = 1.2, 0.5  # of taste and popularity where the user chooses from a list
KEEP_THEME_PROBABILITY = 0.75  # the theme of a video that the user liked becomes the mood
CHANGE_THEME_PROBABILITY = 0.12  # the mood changes for no reason

SATURATION = 1.6  # the largest affinity to content, positive or negative
QUALITY_EFFECT = 0.35
FOLLOWED_EFFECT = 0.7
NEXT_EPISODE_EFFECT = 1.6  # the user completed the episode before
MISSED_EPISODE_EFFECT = -0.5  # the user did not
THEME_EFFECT = 0.7  # the video has the theme of the mood
REPEAT_EFFECT = -0.9  # the user was shown the video before

ATTENTION_SECONDS = 4.2  # median watch time at affinity 0 of a video that is not skipped
ATTENTION_SLOPE, ATTENTION_NOISE, HOOK_EFFECT = 0.75, 0.8, 0.25  # of the logarithm of the watch time
SKIP_SLOPE, SKIP_OFFSET = -1.6, -1.3  # of the log-odds that a video is skipped at once
MAX_PLAYS = 3
COMPLETE_RATIO = 0.9


@dataclass(kw_only=True)
class Sessions:
    """A platform of users with a taste in a latent space of themes.

    Attributes:
        users: all users.
        videos: all videos.
        arrays: the videos as arrays.
        seen: [U, V] whether the user was shown the video before.
        completed: [U, V] whether the user watched the video to its end before.
        followed: [U, C] whether the user follows the creator.
        recent_views: [V] views until the end of the previous day; older ones count less.
    """

    calendar: Calendar
    users: list[LatentUser]
    videos: list[LatentVideo]
    arrays: LatentArrays = field(init=False)
    seen: np.ndarray = field(init=False)
    completed: np.ndarray = field(init=False)
    followed: np.ndarray = field(init=False)
    recent_views: np.ndarray = field(init=False)
    _affinity_key: tuple[int, int] | None = field(init=False, default=None)
    _affinity_V: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.arrays = to_latent_arrays(self.videos)
        self.seen = np.zeros((len(self.users), len(self.videos)), bool)
        self.completed = np.zeros_like(self.seen)
        self.followed = np.zeros((len(self.users), int(self.arrays.creator_V.max()) + 1), bool)
        for row, user in enumerate(self.users):
            self.followed[row, list(user.followed_creators)] = True
        self.recent_views = np.zeros(len(self.videos))

    def choose_feed(self, random: np.random.Generator, session: Session) -> Iterator[int]:
        """Choose video by video. The user may leave after each."""
        session.theme = self._draw_theme(random, session)
        weights_V = self._platform_log_weights(random, session)
        not_shown_V = np.ones(len(self.videos), bool)
        for _ in range(MAX_FEED_LENGTH):
            row = self._next_video(random, session, weights_V, not_shown_V)
            if row is None:
                return
            not_shown_V[row] = False
            yield row
            if random.random() < LEAVE_PROBABILITY + LEAVE_AFTER_SKIP * session.num_skips:
                return

    def _draw_theme(self, random: np.random.Generator, session: Session) -> int:
        """Draw a mood from the user's taste."""
        taste_K = self.users[session.user_row].taste_YK[session.day]
        return int(random.choice(NUM_THEMES, p=softmax(taste_K)))

    def _platform_log_weights(self, random: np.random.Generator, session: Session) -> np.ndarray:
        """Return the log-weight with which the platform shows each video in this session, [V]."""
        seen_V = self.seen[session.user_row]
        if random.random() < self.calendar.params.personalised_feed:
            return personalised_log_weights(random, self.lasting_affinity(session), seen_V)
        return popularity_log_weights(self.arrays, session.clock, self.recent_views, seen_V)

    def _next_video(
        self, random: np.random.Generator, session: Session, weights_V: np.ndarray, not_shown_V: np.ndarray
    ) -> int | None:
        """Draw where the next video comes from, and the video. The platform fills in for the others."""
        allowed_V = not_shown_V & self.arrays.is_available(session.clock)
        source = str(random.choice(list(SOURCE_RATES), p=list(SOURCE_RATES.values())))
        if source != "platform":
            wants = {"theme": self._has_theme, "following": self._is_followed}[source]
            choice_V = CHOICE_WEIGHT * self.lasting_affinity(session) + CHOICE_POPULARITY * weights_V
            row = draw_row(random, choice_V, allowed_V & wants(session))
            if row is not None:
                session.feed_source = source
                return row
        session.feed_source = "platform"
        return draw_row(random, weights_V, allowed_V)

    def _has_theme(self, session: Session) -> np.ndarray:
        """Return whether a video is unseen and has the theme of the mood, [V]."""
        return (self.arrays.theme_V == session.theme) & ~self.seen[session.user_row]

    def _is_followed(self, session: Session) -> np.ndarray:
        """Return whether a video is unseen, and of a followed creator or the next episode, [V]."""
        row = session.user_row
        wanted_V = self.followed[row, self.arrays.creator_V] | self._is_next_episode(row)
        return wanted_V & ~self.seen[row]

    def _is_next_episode(self, user_row: int) -> np.ndarray:
        """Return whether the user completed the episode before each video, [V]."""
        return (self.arrays.previous_V >= 0) & self.completed[user_row, self.arrays.previous_V]

    def lasting_affinity(self, session: Session) -> np.ndarray:
        """Return the user's affinity to each video without mood and repetition, [V].

        This is what a perfect recommender would order the catalogue by.
        """
        row, arrays = session.user_row, self.arrays
        is_next_V = self._is_next_episode(row)
        return (
            self._content_affinity(session)
            + QUALITY_EFFECT * arrays.quality_V
            + FOLLOWED_EFFECT * self.followed[row, arrays.creator_V]
            + NEXT_EPISODE_EFFECT * is_next_V
            + MISSED_EPISODE_EFFECT * ((arrays.previous_V >= 0) & ~is_next_V)
        )

    def _content_affinity(self, session: Session) -> np.ndarray:
        """Return the user's affinity to the content of each video, [V]. The last result is kept."""
        key = session.day, session.user_row
        if key != self._affinity_key:
            user = self.users[session.user_row]
            taste_V = (self.arrays.content_VMK @ user.taste_YK[session.day]) @ user.modality_weights
            self._affinity_key, self._affinity_V = key, SATURATION * np.tanh(taste_V / SATURATION)
        return self._affinity_V

    def watch(
        self, random: np.random.Generator, session: Session, video_row: int, context: Mapping[str, Any]
    ) -> SimulatedInteraction:
        """Draw what the user does with a video that is shown."""
        user, video = self.users[session.user_row], self.videos[video_row]
        affinity = float(
            self.lasting_affinity(session)[video_row]
            + THEME_EFFECT * (video.theme == session.theme)
            + REPEAT_EFFECT * self.seen[session.user_row, video_row]
        )
        is_followed = bool(self.followed[session.user_row, video.creator])
        watched_ms, exit_segment = _draw_watch_time(random, user, video, affinity)
        reactions: tuple[str, ...] = ()
        sentiment = 0
        if watched_ms is not None:
            reactions, sentiment = draw_reactions(random, affinity, user.expressiveness)
        return SimulatedInteraction(
            user,
            video,
            **context,
            watched_ms=watched_ms,
            exit_segment=exit_segment,
            affinity=affinity,
            reactions=tuple(name for name in reactions if not (name == "follow" and is_followed)),
            sentiment=sentiment,
            comment=comments.write_comment(random, video.topics[0], sentiment) if sentiment else None,
            feed_source=session.feed_source,
            is_followed=is_followed,
            is_next_episode=bool(self._is_next_episode(session.user_row)[video_row]),
            theme=session.theme,
        )

    def record_interaction(
        self, random: np.random.Generator, session: Session, interaction: SimulatedInteraction
    ) -> None:
        """Remember what was seen, completed and followed, and move the mood."""
        user_row, video = session.user_row, self.videos[video_row(interaction.video)]
        row = video_row(video)
        self.seen[user_row, row] = True
        session.num_skips += interaction.watched_ms is None
        is_complete = (interaction.watched_ms or 0) >= COMPLETE_RATIO * video.duration_ms
        self.completed[user_row, row] |= is_complete
        if "follow" in interaction.reactions:
            self.followed[user_row, video.creator] = True
        draw = random.random()
        if (is_complete or "like" in interaction.reactions) and draw < KEEP_THEME_PROBABILITY:
            session.theme = video.theme
        elif draw > 1 - CHANGE_THEME_PROBABILITY:
            session.theme = self._draw_theme(random, session)

    def end_day(self, day: int, interactions: Sequence[SimulatedInteraction]) -> None:
        """Let older views count less, and add those of the day."""
        self.recent_views *= 0.5 ** (1 / VIEW_HALF_LIFE_DAYS)
        for interaction in interactions:
            if interaction.watched_ms is not None:
                self.recent_views[video_row(interaction.video)] += 1

    def modality_vectors(self) -> dict[str, np.ndarray]:
        """Return nonlinear noisy functions of the latent content, for each modality."""
        seed = self.calendar.params.seed
        return {
            modality: tanh_vectors(seed, modality, self.arrays.content_VMK[:, column], WIDTHS[modality])
            for column, modality in enumerate(MODALITIES)
        }

    def summary(self) -> dict[str, Any]:
        """Return the sizes of the latent space and the effects on the affinity."""
        return {
            "num_themes": NUM_THEMES,
            "num_creators": self.followed.shape[1],
            "quality_effect": QUALITY_EFFECT,
            "followed_effect": FOLLOWED_EFFECT,
            "next_episode_effect": NEXT_EPISODE_EFFECT,
            "missed_episode_effect": MISSED_EPISODE_EFFECT,
            "theme_effect": THEME_EFFECT,
            "saturation": SATURATION,
        }

    def user_truth(self, user_row: int) -> dict[str, Any]:
        """Return the taste on each day, its drift, and the creators followed from the start."""
        user = self.users[user_row]
        return {
            "taste_by_day": user.taste_YK.round(5).tolist(),
            "drift_degrees": user.drift_degrees,
            "followed_creators": list(user.followed_creators),
            "expressiveness": user.expressiveness,
            "patience": user.patience,
            "drift_day": user.drift_day,
            "tastes": user.taste_YK,
        }

    def video_truth(self, video_row: int) -> dict[str, Any]:
        """Return the latent content of each modality, the series and the push."""
        video = self.videos[video_row]
        return {
            "creator": video.creator,
            "theme": video.theme,
            **{
                modality: content_K.round(5).tolist()
                for modality, content_K in zip(MODALITIES, video.content_MK, strict=True)
            },
            "series": video.series,
            "episode": video.episode,
            "push": video.push,
            "segment_topics": video.segment_topics,
            "segment_appeal": video.segment_appeal,
        }


def make_sessions(calendar: Calendar) -> Sessions:
    """Make the platform as it is at the start of day 0."""
    videos = make_latent_videos(calendar)
    return Sessions(calendar=calendar, users=make_latent_users(calendar, videos), videos=videos)


def _draw_watch_time(
    random: np.random.Generator, user: LatentUser, video: LatentVideo, affinity: float
) -> tuple[int | None, int]:
    """Draw the watched milliseconds (None: skipped at once) and the exit segment (−1: none).

    A user gives a video some seconds, which do not depend on its duration. The first segment is the hook.
    """
    if random.random() < sigmoid(SKIP_SLOPE * affinity + SKIP_OFFSET):
        return None, 0
    log_seconds = (
        np.log(ATTENTION_SECONDS)
        + ATTENTION_SLOPE * affinity
        + HOOK_EFFECT * video.segment_appeal[0]
        + user.patience
        + random.normal(scale=ATTENTION_NOISE)
    )
    watched_ms = int(1000 * np.exp(log_seconds))
    if watched_ms < video.duration_ms:
        return watched_ms, watched_ms // (1000 * SEGMENT_SECONDS)
    num_plays = 1
    while num_plays < MAX_PLAYS and random.random() < 0.15 * sigmoid(affinity):
        num_plays += 1
    return num_plays * video.duration_ms, -1
