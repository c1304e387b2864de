"""Simulate one interaction: how long a user watches, in which segment the user leaves, and the reactions."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from simulator import comments
from simulator.catalogue import SEGMENT_SECONDS, SimulatedVideo
from simulator.users import SimulatedUser

EXIT_LOG_ODDS = 0.8  # log-odds of leaving a segment at affinity 0
AFFINITY_WEIGHT = 2.6
APPEAL_WEIGHT = 0.6
QUALITY_WEIGHT = 0.3
DEVICE_PATIENCE = {"android": 0.0, "ios": 0.0, "tablet": 0.25}  # users of a tablet leave later
REPLAY_PROBABILITY = 0.12  # of another play after a complete one
MAX_PLAYS = 3
# Behaviour -> (slope, offset) of its log-odds as a function of the affinity.
REACTION_LOG_ODDS = {
    "like": (2.2, -3.0),
    "share": (1.8, -5.0),
    "follow": (1.8, -5.0),
    "dislike": (-2.5, -4.5),
}
COMMENT_PROBABILITY = 0.03
FEED_SOURCES = ("platform", "theme", "following")


@dataclass(frozen=True)
class SimulatedInteraction:
    """An interaction and its ground truth.

    Attributes:
        started_at: epoch seconds.
        watched_ms: None if the user skipped the video at once.
        exit_segment: the 5 s segment in which the user left, −1 if none.
        affinity: the user's expected affinity, the mean over the segments.
        reactions: behaviours after watching, such as `like`.
        sentiment: 1 or −1 for a friendly or unfriendly comment, 0 without a comment.
        feed_source: where the video was chosen from; one of FEED_SOURCES.
        is_followed: whether the user followed the author before.
        is_next_episode: whether the user had completed the episode before this one.
        theme: what the user was in the mood for, None if the mechanism has no themes.
    """

    user: SimulatedUser
    video: SimulatedVideo
    started_at: float
    device: str
    network: str
    feed_position: int
    watched_ms: int | None
    exit_segment: int
    affinity: float
    reactions: tuple[str, ...]
    sentiment: int
    comment: str | None
    feed_source: str = "platform"
    is_followed: bool = False
    is_next_episode: bool = False
    theme: int | None = None

    @property
    def total_seconds(self) -> float:
        """Seconds until the next video starts."""
        return (self.watched_ms or 0) / 1000 + 1.5

    def to_events(self) -> Iterator[dict[str, Any]]:
        """Yield the events of a correct log, still without `event_id`."""
        yield self._make_event("impression", self.started_at)
        if self.watched_ms is None:
            return
        end = self.started_at + self.watched_ms / 1000
        yield self._make_event("view", end, watch_ms=self.watched_ms)
        for number, reaction in enumerate(self.reactions):
            text = {"comment_text": self.comment} if reaction == "comment" else {}
            yield self._make_event(reaction, end + 0.1 * (number + 1), **text)

    def _make_event(self, event_type: str, seconds: float, **fields: Any) -> dict[str, Any]:
        context = {
            "device": self.device,
            "network": self.network,
            "utc_offset_minutes": self.user.utc_offset_minutes,
            "feed_position": self.feed_position,
        }
        ids = {"user_id": self.user.user_id, "video_id": self.video.video_id}
        time = datetime.fromtimestamp(round(seconds, 3), UTC)
        return {**ids, "event_type": event_type, "event_time": time, **fields, "context": context}


def draw_interaction(
    random: np.random.Generator,
    user: SimulatedUser,
    video: SimulatedVideo,
    affinity_T: np.ndarray,
    appeal_T: np.ndarray,
    **context: Any,
) -> SimulatedInteraction:
    """Draw what a user does with a video that is shown.

    Args:
        affinity_T: the user's affinity to each segment.
        appeal_T: the appeal of each segment.
        context: `started_at`, `device`, `network` and `feed_position` of the interaction.
    """
    mean_affinity = float(affinity_T.mean())
    if random.random() < sigmoid(-2 * mean_affinity - 3):
        return SimulatedInteraction(
            user, video, **context, watched_ms=None, exit_segment=0, affinity=mean_affinity,
            reactions=(), sentiment=0, comment=None,
        )  # fmt: skip
    watched_ms, exit_segment = _draw_watch_time(
        random, affinity_T + APPEAL_WEIGHT * appeal_T, video.duration_ms
    )
    reactions, sentiment = draw_reactions(random, mean_affinity)
    text = comments.write_comment(random, video.topics[0], sentiment) if sentiment else None
    return SimulatedInteraction(
        user, video, **context, watched_ms=watched_ms, exit_segment=exit_segment, affinity=mean_affinity,
        reactions=reactions, sentiment=sentiment, comment=text,
    )  # fmt: skip


def _draw_watch_time(
    random: np.random.Generator, affinity_T: np.ndarray, duration_ms: int
) -> tuple[int, int]:
    """Draw the watched milliseconds and the exit segment (−1: none).

    Args:
        affinity_T: affinity plus appeal of each segment.
    """
    exits_T = random.random(len(affinity_T)) < sigmoid(EXIT_LOG_ODDS - AFFINITY_WEIGHT * affinity_T)
    if exits_T.any():
        segment = int(exits_T.argmax())
        start = segment * SEGMENT_SECONDS * 1000
        length = min(SEGMENT_SECONDS * 1000, duration_ms - start)
        return start + int(length * random.beta(1.2, 2)), segment
    num_plays = 1
    while num_plays < MAX_PLAYS and random.random() < REPLAY_PROBABILITY:
        num_plays += 1
    return num_plays * duration_ms, -1


def draw_reactions(
    random: np.random.Generator, user_affinity: float, expressiveness: float = 0.0
) -> tuple[tuple[str, ...], int]:
    """Draw the behaviours after watching and the sentiment of the comment (0: none).

    Args:
        expressiveness: what the user adds to the log-odds of each behaviour except a comment.
    """
    reactions = [
        reaction
        for reaction, (slope, offset) in REACTION_LOG_ODDS.items()
        if random.random() < sigmoid(slope * user_affinity + offset + expressiveness)
    ]
    if random.random() >= COMMENT_PROBABILITY:
        return tuple(reactions), 0
    is_positive = random.random() < sigmoid(3 * (user_affinity - 0.3))
    return (*reactions, "comment"), 1 if is_positive else -1


def sigmoid(value: Any) -> Any:
    """Return the probability with these log-odds."""
    return 1 / (1 + np.exp(-value))
