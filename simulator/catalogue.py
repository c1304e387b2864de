"""Make the videos: the topics of each, by modality and segment, and the appeal of each segment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from core.tables import MODALITIES
from simulator.calendar import Calendar
from simulator.seeds import make_rng
from simulator.topics import TOPICS

SEGMENT_SECONDS = 5
MIN_SECONDS, MAX_SECONDS = 3, 30
NUM_AUTHORS = 30
# How often a modality has the main topic of the video.
TOPIC_AGREEMENT = {"visual": 0.75, "text": 0.7, "audio": 0.65}
OFF_TOPIC_RATE = 0.2  # share of segments that do not show the video's visual topic
# Fault of the media -> share of the videos.
MEDIA_FAULT_RATES = {
    "truncated": 0.015,
    "garbage": 0.015,
    "missing": 0.015,
    "no_sound": 0.04,
    "no_media_uri": 0.02,
}
OPTIONAL_FIELDS = ("caption", "hashtags", "music_title", "duration_ms", "category", "author_id")
MISSING_FIELD_RATE = 0.02  # for each field: share of the videos whose record lacks it


@dataclass(frozen=True, kw_only=True)
class SimulatedVideo:
    """A video and its ground truth. The platform logs only `to_record`.

    Attributes:
        topics: index of a topic for each of MODALITIES.
        segment_topics: topic that is seen in each 5 s segment.
        segment_appeal: appeal of each segment, drawn from a standard normal distribution.
        media_fault: a key of MEDIA_FAULT_RATES, or None.
        missing_fields: fields that the record lacks.
        expires_at: end of the video's life; it is not shown from then on. None if it stays.
    """

    video_id: str
    topics: tuple[int, int, int]
    segment_topics: tuple[int, ...]
    segment_appeal: tuple[float, ...]
    quality: float
    duration_ms: int
    upload_time: datetime
    arrival_day: int
    author_id: str
    caption: str
    hashtags: tuple[str, ...]
    media_fault: str | None
    missing_fields: tuple[str, ...]
    expires_at: datetime | None = None

    def to_record(self) -> dict[str, object]:
        """Return the video's record in the landing file."""
        _, text, audio = self.topics
        fields = {
            "video_id": self.video_id,
            "author_id": self.author_id,
            "caption": self.caption,
            "hashtags": list(self.hashtags),
            "music_title": f"synthetic {TOPICS[audio].name} loop",
            "duration_ms": self.duration_ms,
            "upload_time": self.upload_time.isoformat(),
            "expires_at": self.expires_at and self.expires_at.isoformat(),
            "category": TOPICS[text].group,
            "media_uri": None if self.media_fault == "no_media_uri" else f"media/{self.video_id}.mp4",
        }
        return {
            key: value
            for key, value in fields.items()
            if value is not None and key not in self.missing_fields
        }


def make_videos(seed: int, calendar: Calendar) -> list[SimulatedVideo]:
    """Return all videos in order of arrival."""
    arrivals = calendar.arrival_days(calendar.params.videos, calendar.params.new_videos_per_day)
    return [_make_video(seed, number, arrival_day, calendar) for number, arrival_day in enumerate(arrivals)]


def _make_video(seed: int, number: int, arrival_day: int, calendar: Calendar) -> SimulatedVideo:
    random = make_rng(seed, "video", number)
    author = int(random.integers(NUM_AUTHORS))
    topics = draw_topics(random, main_topic=_draw_author_topic(seed, author, random))
    duration_ms = draw_duration_ms(random)
    segments = num_segments(duration_ms)
    segment_topics = draw_segment_topics(random, topics[0], segments)
    caption, hashtags = make_caption(random, topics[1])
    return SimulatedVideo(
        video_id=make_video_id(number),
        topics=topics,
        segment_topics=segment_topics,
        segment_appeal=draw_segment_appeal(random, segments),
        quality=round(float(random.normal()), 4),
        duration_ms=duration_ms,
        upload_time=_upload_time(random, arrival_day, calendar),
        arrival_day=arrival_day,
        author_id=make_author_id(author),
        caption=caption,
        hashtags=hashtags,
        media_fault=draw_by_rate(random, MEDIA_FAULT_RATES),
        missing_fields=draw_missing_fields(random),
    )


def make_video_id(number: int) -> str:
    """Return the id of a video."""
    return f"syn-v{number:05d}"


def video_row(video: SimulatedVideo) -> int:
    """Return the number of a video in the list of all videos."""
    return int(video.video_id.removeprefix("syn-v"))


def make_author_id(author: int) -> str:
    """Return the id of an author."""
    return f"syn-a{author:03d}"


def num_segments(duration_ms: int) -> int:
    """Return the number of segments of a video."""
    return -(-duration_ms // (SEGMENT_SECONDS * 1000))


def draw_duration_ms(random: np.random.Generator) -> int:
    """Draw a duration of whole frames."""
    seconds = MIN_SECONDS + (MAX_SECONDS - MIN_SECONDS) * random.beta(1.4, 2.6)
    return round(seconds * 10) * 100


def draw_segment_topics(random: np.random.Generator, topic: int, segments: int) -> tuple[int, ...]:
    """Draw the topic that each segment shows, mostly that of the video."""
    is_off_topic = random.random(segments) < OFF_TOPIC_RATE
    topics = np.where(is_off_topic, random.integers(len(TOPICS), size=segments), topic)
    return tuple(int(value) for value in topics)


def draw_segment_appeal(random: np.random.Generator, segments: int) -> tuple[float, ...]:
    """Draw the appeal of each segment from a standard normal distribution."""
    return tuple(float(value) for value in random.normal(size=segments).round(4))


def draw_missing_fields(random: np.random.Generator) -> tuple[str, ...]:
    """Draw the fields that the record of a video lacks."""
    return tuple(name for name in OPTIONAL_FIELDS if random.random() < MISSING_FIELD_RATE)


def _draw_author_topic(seed: int, author: int, random: np.random.Generator) -> int:
    """Draw a topic. An author mostly makes videos of two topics."""
    favourites = make_rng(seed, "author", author).integers(len(TOPICS), size=2)
    return int(random.choice(favourites) if random.random() < 0.6 else random.integers(len(TOPICS)))


def draw_topics(random: np.random.Generator, main_topic: int) -> tuple[int, int, int]:
    """Draw the topic of each modality, mostly the main topic."""
    visual, text, audio = (
        main_topic if random.random() < TOPIC_AGREEMENT[modality] else int(random.integers(len(TOPICS)))
        for modality in MODALITIES
    )
    return visual, text, audio


def make_caption(random: np.random.Generator, topic: int) -> tuple[str, tuple[str, ...]]:
    """Return a caption and its hashtags."""
    words = random.permutation(TOPICS[topic].words)
    opening = random.choice(["my", "the best", "how about this", "today:", "again,", "a little"])
    name = TOPICS[topic].name
    caption = f"{opening} {' '.join(words[:4])} {random.choice(['!', '…', '', 'part 2'])} #{name}"
    return caption, (name, str(words[4]), str(words[5]))


def _upload_time(random: np.random.Generator, arrival_day: int, calendar: Calendar) -> datetime:
    """Draw a time in the first half of the arrival day.

    Videos that exist from the start are up to 30 days older.
    """
    seconds = int(random.integers(12 * 3600)) - (
        int(random.integers(1, 31)) * 86_400 if arrival_day == 0 else 0
    )
    return calendar.midnight(arrival_day) + timedelta(seconds=seconds)


def draw_by_rate(random: np.random.Generator, rates: dict[str, float]) -> str | None:
    """Draw a key with its rate as probability. None stands for the rest."""
    bounds = np.cumsum(list(rates.values()))
    position = int(np.searchsorted(bounds, random.random(), side="right"))
    return list(rates)[position] if position < len(rates) else None


@dataclass(frozen=True)
class VideoArrays:
    """The videos as arrays. Row i is video i.

    Attributes:
        topics: [V, 3] indices of the topics, in the order of MODALITIES.
        quality: [V] standard normal.
        upload_time: [V] epoch seconds.
    """

    topics: np.ndarray
    quality: np.ndarray
    upload_time: np.ndarray


def to_arrays(videos: Sequence[SimulatedVideo]) -> VideoArrays:
    """Collect in arrays what the feed needs of the videos."""
    return VideoArrays(
        np.array([video.topics for video in videos]),
        np.array([video.quality for video in videos]),
        np.array([video.upload_time.timestamp() for video in videos]),
    )
