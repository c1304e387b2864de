"""The videos: what each shows, plays and says, segment by segment, and how appealing each segment is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from world.calendar import Calendar
from world.seeds import rng
from world.topics import TOPICS

SEGMENT_SECONDS = 5
MIN_SECONDS, MAX_SECONDS = 3, 30
AUTHORS = 30
MODALITIES = ("visual", "text", "audio")
AGREES = {"visual": 0.75, "text": 0.7, "audio": 0.65}  # how often a modality carries the video's own topic
SIDE_TOPIC = 0.2  # share of segments that show another topic than the video's visual one
BROKEN = {  # what is wrong with the media -> share of the videos
    "truncated": 0.015,
    "garbage": 0.015,
    "missing": 0.015,
    "no_sound": 0.04,
    "no_media_uri": 0.02,
}
FIELDS_LEFT_OUT = ("caption", "hashtags", "music_title", "duration_ms", "category", "author_id")
LEFT_OUT = 0.02  # share of the videos whose record lacks a field, for each field


@dataclass(frozen=True)
class Video:
    """A video with everything that is true of it; `record` is what the platform tells.

    topics: index of the topic that is seen, read and heard (MODALITIES).
    segment_topics, appeal: the topic seen in each 5 s segment, and its appeal (standard normal).
    broken: what is wrong with its media, or None.
    left_out: fields that its record lacks.
    """

    video_id: str
    topics: tuple[int, int, int]
    segment_topics: tuple[int, ...]
    appeal: tuple[float, ...]
    quality: float
    duration_ms: int
    upload_time: datetime
    arrives: int
    author_id: str
    caption: str
    hashtags: tuple[str, ...]
    broken: str | None
    left_out: tuple[str, ...]

    def record(self) -> dict[str, object]:
        """The line of the landing file."""
        _, text, audio = self.topics
        fields = {
            "video_id": self.video_id,
            "author_id": self.author_id,
            "caption": self.caption,
            "hashtags": list(self.hashtags),
            "music_title": f"synthetic {TOPICS[audio].name} loop",
            "duration_ms": self.duration_ms,
            "upload_time": self.upload_time.isoformat(),
            "category": TOPICS[text].group,
            "media_uri": None if self.broken == "no_media_uri" else f"media/{self.video_id}.mp4",
        }
        return {key: value for key, value in fields.items() if value is not None and key not in self.left_out}


def make_videos(seed: int, days: Calendar) -> list[Video]:
    """All videos of the world in order of arrival."""
    arrivals = days.arrivals(days.params.videos, days.params.new_videos_per_day)
    return [_video(seed, number, arrives, days) for number, arrives in enumerate(arrivals)]


def _video(seed: int, number: int, arrives: int, days: Calendar) -> Video:
    random = rng(seed, "video", number)
    author = int(random.integers(AUTHORS))
    topics = _topics(random, own=_of_author(seed, author, random))
    seconds = MIN_SECONDS + (MAX_SECONDS - MIN_SECONDS) * random.beta(1.4, 2.6)
    duration_ms = round(seconds * 10) * 100  # whole frames
    segments = -(-duration_ms // (SEGMENT_SECONDS * 1000))
    shown = np.where(
        random.random(segments) < SIDE_TOPIC, random.integers(len(TOPICS), size=segments), topics[0]
    )
    caption, hashtags = _text(random, topics[1])
    return Video(
        video_id=f"syn-v{number:05d}",
        topics=topics,
        segment_topics=tuple(int(topic) for topic in shown),
        appeal=tuple(float(value) for value in random.normal(size=segments).round(4)),
        quality=round(float(random.normal()), 4),
        duration_ms=duration_ms,
        upload_time=_upload_time(random, arrives, number, days),
        arrives=arrives,
        author_id=f"syn-a{author:03d}",
        caption=caption,
        hashtags=hashtags,
        broken=_one_of(random, BROKEN),
        left_out=tuple(name for name in FIELDS_LEFT_OUT if random.random() < LEFT_OUT),
    )


def _of_author(seed: int, author: int, random: np.random.Generator) -> int:
    """An author mostly makes videos of two topics."""
    favourites = rng(seed, "author", author).integers(len(TOPICS), size=2)
    return int(random.choice(favourites) if random.random() < 0.6 else random.integers(len(TOPICS)))


def _topics(random: np.random.Generator, own: int) -> tuple[int, int, int]:
    seen, read, heard = (
        own if random.random() < AGREES[modality] else int(random.integers(len(TOPICS)))
        for modality in MODALITIES
    )
    return seen, read, heard


def _text(random: np.random.Generator, topic: int) -> tuple[str, tuple[str, ...]]:
    """Caption and hashtags."""
    words = random.permutation(TOPICS[topic].words)
    opening = random.choice(["my", "the best", "how about this", "today:", "again,", "a little"])
    name = TOPICS[topic].name
    caption = f"{opening} {' '.join(words[:4])} {random.choice(['!', '…', '', 'part 2'])} #{name}"
    return caption, (name, str(words[4]), str(words[5]))


def _upload_time(random: np.random.Generator, arrives: int, number: int, days: Calendar) -> datetime:
    """In the first half of the day it arrives; up to thirty days earlier for those there from the start."""
    seconds = int(random.integers(12 * 3600)) - (int(random.integers(1, 31)) * 86_400 if arrives == 0 else 0)
    return days.midnight(arrives) + timedelta(seconds=seconds)


def _one_of(random: np.random.Generator, shares: dict[str, float]) -> str | None:
    """A key drawn by its share, or None for the rest."""
    bounds = np.cumsum(list(shares.values()))
    position = int(np.searchsorted(bounds, random.random(), side="right"))
    return list(shares)[position] if position < len(shares) else None


@dataclass(frozen=True)
class Shelf:
    """The videos as arrays, row i for video i: topics [V, 3], quality [V], upload times [V] (epoch s)."""

    topics: np.ndarray
    quality: np.ndarray
    uploaded: np.ndarray


def shelf(videos: Sequence[Video]) -> Shelf:
    """What the feed reads of the videos."""
    return Shelf(
        np.array([video.topics for video in videos]),
        np.array([video.quality for video in videos]),
        np.array([video.upload_time.timestamp() for video in videos]),
    )
