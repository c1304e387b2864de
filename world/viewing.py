"""One person watches one video: how long, where they leave, and what they do."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from world import comments
from world.audience import Person, interest
from world.catalogue import SEGMENT_SECONDS, Video

LEAVING = 0.8  # log-odds of leaving a segment of no interest
INTEREST = 2.6
APPEAL = 0.6
QUALITY = 0.3
PATIENCE = {"android": 0.0, "ios": 0.0, "tablet": 0.25}  # who sits with a tablet leaves later
AGAIN = 0.12  # probability of another loop after a liked video
MAX_LOOPS = 3
# behaviour -> (slope, offset) of its log-odds in the interest
REACTIONS = {
    "like": (2.2, -3.0),
    "share": (1.8, -5.0),
    "follow": (1.8, -5.0),
    "dislike": (-2.5, -4.5),
}
COMMENTING = 0.03


@dataclass(frozen=True)
class Viewing:
    """What happened, and what is true of it.

    started: epoch seconds. watched_ms: None when the video was scrolled past.
    left_segment: the 5 s segment in which the person left; −1: watched to the end.
    interest: the person's interest in the whole video. sentiment: of the comment; 0 when there is none.
    """

    person: Person
    video: Video
    started: float
    device: str
    network: str
    feed_position: int
    watched_ms: int | None
    left_segment: int
    interest: float
    reactions: tuple[str, ...]
    sentiment: int
    comment: str | None

    @property
    def seconds(self) -> float:
        """How long it took, until the next video."""
        return (self.watched_ms or 0) / 1000 + 1.5

    def events(self) -> Iterator[dict[str, Any]]:
        """What a correct log says of it; `event_id` is given later."""
        yield self._event("impression", self.started)
        if self.watched_ms is None:
            return
        end = self.started + self.watched_ms / 1000
        yield self._event("view", end, watch_ms=self.watched_ms)
        for number, reaction in enumerate(self.reactions):
            text = {"comment_text": self.comment} if reaction == "comment" else {}
            yield self._event(reaction, end + 0.1 * (number + 1), **text)

    def _event(self, kind: str, seconds: float, **more: Any) -> dict[str, Any]:
        context = {
            "device": self.device,
            "network": self.network,
            "utc_offset_minutes": self.person.utc_offset_minutes,
            "feed_position": self.feed_position,
        }
        ids = {"user_id": self.person.user_id, "video_id": self.video.video_id}
        time = datetime.fromtimestamp(round(seconds, 3), UTC)
        return {**ids, "event_type": kind, "event_time": time, **more, "context": context}


def watch(
    random: np.random.Generator, person: Person, video: Video, day: int, mood: np.ndarray, **at: Any
) -> Viewing:
    """Let a person meet a video.

    Args:
        mood: [12] what the time of day adds to each topic.
        at: `started`, `device`, `network`, `feed_position` of the viewing.
    """
    segment_topics = np.array([(topic, *video.topics[1:]) for topic in video.segment_topics])
    liking_N = interest(person, day, mood, segment_topics) + QUALITY * video.quality + PATIENCE[at["device"]]
    whole = float(liking_N.mean())
    if random.random() < _sigmoid(-2 * whole - 3):
        return Viewing(person, video, **at, watched_ms=None, left_segment=0, interest=whole, reactions=(),
                       sentiment=0, comment=None)  # fmt: skip
    watched_ms, left = _stay(random, liking_N + APPEAL * np.array(video.appeal), video.duration_ms)
    reactions, sentiment = _react(random, whole)
    text = comments.write(random, video.topics[0], sentiment) if sentiment else None
    return Viewing(person, video, **at, watched_ms=watched_ms, left_segment=left, interest=whole,
                   reactions=reactions, sentiment=sentiment, comment=text)  # fmt: skip


def _stay(random: np.random.Generator, liking_N: np.ndarray, duration_ms: int) -> tuple[int, int]:
    """Watched milliseconds, and the segment left (−1: none)."""
    leaves_N = random.random(len(liking_N)) < _sigmoid(LEAVING - INTEREST * liking_N)
    if leaves_N.any():
        segment = int(leaves_N.argmax())
        start = segment * SEGMENT_SECONDS * 1000
        length = min(SEGMENT_SECONDS * 1000, duration_ms - start)
        return start + int(length * random.beta(1.2, 2)), segment
    loops = 1
    while loops < MAX_LOOPS and random.random() < AGAIN:
        loops += 1
    return loops * duration_ms, -1


def _react(random: np.random.Generator, liking: float) -> tuple[tuple[str, ...], int]:
    """What the person does after watching, and the sentiment of the comment (0: none)."""
    done = [
        kind
        for kind, (slope, offset) in REACTIONS.items()
        if random.random() < _sigmoid(slope * liking + offset)
    ]
    if random.random() >= COMMENTING:
        return tuple(done), 0
    friendly = random.random() < _sigmoid(3 * (liking - 0.3))
    return (*done, "comment"), 1 if friendly else -1


def _sigmoid(value: Any) -> Any:
    return 1 / (1 + np.exp(-value))
