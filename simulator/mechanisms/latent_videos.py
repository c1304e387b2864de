"""The videos of the mechanism `sessions`: creators, series, and content in a latent space of themes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from core.tables import MODALITIES
from simulator.calendar import Calendar
from simulator.catalogue import (
    MEDIA_FAULT_RATES,
    SimulatedVideo,
    draw_by_rate,
    draw_duration_ms,
    draw_missing_fields,
    draw_segment_appeal,
    draw_segment_topics,
    make_author_id,
    make_caption,
    make_video_id,
    num_segments,
)
from simulator.seeds import make_rng
from simulator.topics import TOPICS
from simulator.vectors import tanh_vectors

NUM_THEMES = 24  # width of the latent space
VIDEOS_PER_CREATOR = 12
CREATOR_ACTIVITY_EXPONENT = 0.7  # creators upload at unequal rates
CREATOR_THEME_RATES = (0.6, 0.25)  # how often a video has the first or second theme of its creator
SERIES_CREATOR_RATE = 0.5  # share of the creators who make series
EPISODE_RATE = 0.6  # share of their videos that are episodes
SERIES_LENGTHS = (3, 9)
OTHER_CONTENT_RATE = 0.3  # how often a modality shows a theme that the video is not about
PUSH_EXPONENT = 1.1  # of the Pareto distribution of what the platform gives a video; smaller is more unequal
OLDEST_DAYS = 30.0  # age of the oldest video on day 0
HOURS_OF_UPLOAD = 12


@dataclass(frozen=True)
class Creator:
    """An author, and what the author's videos are about.

    Attributes:
        themes: the two favourite themes.
        quality: mean quality of the videos.
    """

    themes: tuple[int, int]
    quality: float
    makes_series: bool


@dataclass(frozen=True, kw_only=True)
class LatentVideo(SimulatedVideo):
    """A video with content in the latent space. Its rendered topics follow from that content.

    Attributes:
        creator: number of the author.
        theme: the main theme.
        content_MK: content of each modality, of unit length.
        push: how much the platform shows the video whatever its views.
        series: number of the series, None if the video is not an episode.
        episode: number in the series, from 1; 0 if the video is not an episode.
    """

    creator: int
    theme: int
    content_MK: np.ndarray
    push: float
    series: int | None
    episode: int


@dataclass
class OpenSeries:
    """A series that still gets episodes."""

    series: int
    theme: int
    episode: int
    length: int


def theme_popularity() -> np.ndarray:
    """Return how common each theme is, [24]."""
    weights = 1 / (np.arange(NUM_THEMES) + 3)
    return weights / weights.sum()


def make_latent_videos(
    calendar: Calendar, oldest_days: float = OLDEST_DAYS, life_days: tuple[float, float] | None = None
) -> list[LatentVideo]:
    """Return all videos in order of arrival.

    Args:
        oldest_days: age of the oldest video on day 0.
        life_days: shortest and longest life of a video; None if videos stay.
    """
    seed = calendar.params.seed
    arrivals = calendar.arrival_days(calendar.params.videos, calendar.params.new_videos_per_day)
    creators = _make_creators(seed, max(2, len(arrivals) // VIDEOS_PER_CREATOR))
    plans = _plan_videos(seed, creators, len(arrivals))
    content_VMK = np.stack([_draw_content(seed, number, plan[1]) for number, plan in enumerate(plans)])
    topics_VM = _rendered_topics(seed, content_VMK)
    uploads = _upload_times(calendar, arrivals, oldest_days)
    videos = []
    for number, (creator, theme, series, episode) in enumerate(plans):
        random = make_rng(seed, "latent-video", number)
        expires_at = None if life_days is None else uploads[number] + _draw_life(random, life_days)
        videos.append(
            LatentVideo(
                video_id=make_video_id(number),
                arrival_day=arrivals[number],
                upload_time=uploads[number],
                expires_at=expires_at,
                creator=creator,
                author_id=make_author_id(creator),
                theme=theme,
                content_MK=content_VMK[number],
                series=series,
                episode=episode,
                **_draw_details(random, topics_VM[number], creators[creator].quality, episode),
            )
        )
    return videos


def _draw_life(random: np.random.Generator, life_days: tuple[float, float]) -> timedelta:
    return timedelta(seconds=int(86_400 * random.uniform(*life_days)))


def _make_creators(seed: int, count: int) -> list[Creator]:
    random = make_rng(seed, "creators")
    return [
        Creator(
            themes=(
                int(random.choice(NUM_THEMES, p=theme_popularity())),
                int(random.choice(NUM_THEMES, p=theme_popularity())),
            ),
            quality=float(random.normal(scale=0.6)),
            makes_series=bool(random.random() < SERIES_CREATOR_RATE),
        )
        for _ in range(count)
    ]


def _plan_videos(
    seed: int, creators: Sequence[Creator], count: int
) -> list[tuple[int, int, int | None, int]]:
    """Draw creator, main theme, series and episode of each video, in order of upload."""
    random = make_rng(seed, "latent-plan")
    activity = 1 / (np.arange(len(creators)) + 2) ** CREATOR_ACTIVITY_EXPONENT
    open_series: dict[int, OpenSeries] = {}
    num_series = 0
    plans: list[tuple[int, int, int | None, int]] = []
    for number in random.choice(len(creators), size=count, p=activity / activity.sum()).tolist():
        theme = _draw_theme(random, creators[number])
        if not creators[number].makes_series or random.random() >= EPISODE_RATE:
            plans.append((number, theme, None, 0))
            continue
        if number not in open_series:
            open_series[number] = OpenSeries(num_series, theme, 0, int(random.integers(*SERIES_LENGTHS)))
            num_series += 1
        current = open_series[number]
        current.episode += 1
        plans.append((number, current.theme, current.series, current.episode))
        if current.episode == current.length:
            del open_series[number]
    return plans


def _draw_theme(random: np.random.Generator, creator: Creator) -> int:
    draw = random.random()
    if draw < CREATOR_THEME_RATES[0]:
        return creator.themes[0]
    if draw < sum(CREATOR_THEME_RATES):
        return creator.themes[1]
    return int(random.choice(NUM_THEMES, p=theme_popularity()))


def _draw_content(seed: int, number: int, theme: int) -> np.ndarray:
    """Draw sparse content: the main theme and up to two others, with another emphasis in each modality."""
    random = make_rng(seed, "latent-content", number)
    content_K = np.zeros(NUM_THEMES)
    content_K[random.integers(NUM_THEMES, size=random.integers(3))] = random.uniform(0.2, 0.8)
    content_K[theme] = 1.0
    content_MK = content_K * random.uniform(0.3, 1.5, size=(len(MODALITIES), NUM_THEMES))
    for modality_K in content_MK:
        if random.random() < OTHER_CONTENT_RATE:
            modality_K *= 0.3
            modality_K[random.integers(NUM_THEMES)] += 1.0
    return content_MK / np.linalg.norm(content_MK, axis=1, keepdims=True)


def _rendered_topics(seed: int, content_VMK: np.ndarray) -> np.ndarray:
    """Return the topic that each modality is rendered as, [V, 3]. Several themes look alike."""
    scores = [
        tanh_vectors(seed, f"rendered-{modality}", content_VMK[:, column], len(TOPICS))
        for column, modality in enumerate(MODALITIES)
    ]
    return np.stack(scores, 1).argmax(2)


def _upload_times(calendar: Calendar, arrivals: Sequence[int], oldest_days: float) -> list[datetime]:
    """Draw the times in the order of the videos, so that an episode follows the one before it.

    A video is uploaded in the first half of its arrival day. Those of day 0 are older.
    """
    random = make_rng(calendar.params.seed, "latent-uploads")
    day_V = np.array(arrivals)
    hours_V = np.where(
        day_V == 0,
        -random.uniform(0, 24 * oldest_days, size=len(day_V)),
        random.uniform(0, HOURS_OF_UPLOAD, size=len(day_V)),
    )
    for day in np.unique(day_V):
        hours_V[day_V == day] = np.sort(hours_V[day_V == day])
    return [
        calendar.midnight(day) + timedelta(seconds=int(hours * 3600))
        for day, hours in zip(arrivals, hours_V, strict=True)
    ]


def _draw_details(random: np.random.Generator, topics_M: np.ndarray, quality: float, episode: int) -> dict:
    """Draw the fields of a video that do not depend on other videos."""
    topics = tuple(int(topic) for topic in topics_M)
    duration_ms = draw_duration_ms(random)
    segments = num_segments(duration_ms)
    caption, hashtags = make_caption(random, topics[1])
    if episode:
        caption = f"{caption} episode {episode}"
    return {
        "topics": topics,
        "segment_topics": draw_segment_topics(random, topics[0], segments),
        "segment_appeal": draw_segment_appeal(random, segments),
        "quality": round(quality + float(random.normal(scale=0.8)), 4),
        "duration_ms": duration_ms,
        "caption": caption,
        "hashtags": hashtags,
        "media_fault": draw_by_rate(random, MEDIA_FAULT_RATES),
        "missing_fields": draw_missing_fields(random),
        "push": float(random.pareto(PUSH_EXPONENT)),
    }
