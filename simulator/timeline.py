"""Simulate the days in order: which users come, when, and what they watch."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from simulator.calendar import Calendar
from simulator.catalogue import SimulatedVideo, VideoArrays, make_videos, to_arrays
from simulator.exposure import choose_videos
from simulator.seeds import make_rng
from simulator.topics import TOPICS
from simulator.users import GroupPreferences, SimulatedUser, affinity, make_group_preferences, make_users
from simulator.watching import QUALITY_WEIGHT, SimulatedInteraction, simulate_watch

SECONDS_PER_DAY = 86_400
DAYPART_EFFECT_SCALE = 0.3  # how much the time of day changes preferences
DAYPARTS = 4
MIN_FEED_LENGTH = 8  # smallest number of videos of a session
MEAN_EXTRA_VIDEOS = 6  # mean number of videos above the smallest
MAX_SESSIONS = 4
RANDOM_ANDROID_RATE = 0.1  # share of sessions on an android device, whatever the user's own device
EVENING_HOUR = 18  # users are on wifi from this local hour to midnight


@dataclass
class Simulation:
    """The users and videos, and the state of the feed.

    Attributes:
        daypart_effects: [4, 12] what each part of the day adds to the preference for each topic.
        seen: [U, V] whether the user was shown the video before.
        view_counts: [V] views until the end of the previous day.
    """

    calendar: Calendar
    group_preferences: GroupPreferences
    users: list[SimulatedUser]
    videos: list[SimulatedVideo]
    video_arrays: VideoArrays
    daypart_effects: np.ndarray
    seen: np.ndarray = field(init=False)
    view_counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.seen = np.zeros((len(self.users), len(self.videos)), bool)
        self.view_counts = np.zeros(len(self.videos))


def make_simulation(calendar: Calendar) -> Simulation:
    """Make the simulation as it is at the start of day 0."""
    seed = calendar.params.seed
    group_preferences = make_group_preferences(seed)
    videos = make_videos(seed, calendar)
    daypart_effects = DAYPART_EFFECT_SCALE * make_rng(seed, "mood").normal(size=(DAYPARTS, len(TOPICS)))
    return Simulation(
        calendar,
        group_preferences,
        make_users(seed, calendar, group_preferences),
        videos,
        to_arrays(videos),
        daypart_effects,
    )


def simulate_days(simulation: Simulation) -> Iterator[list[SimulatedInteraction]]:
    """Yield the interactions of each day, by user and time. Updates the state of the simulation."""
    for day in range(simulation.calendar.num_days):
        interactions = [
            interaction
            for row, user in enumerate(simulation.users)
            if user.arrival_day <= day
            for interaction in _simulate_user_day(simulation, day, row, user)
        ]
        for interaction in interactions:
            if interaction.watched_ms is not None:
                simulation.view_counts[_video_row(interaction.video)] += 1
        yield interactions


def _simulate_user_day(
    simulation: Simulation, day: int, row: int, user: SimulatedUser
) -> Iterator[SimulatedInteraction]:
    """Yield what a user watches on a day, nothing if the user does not come."""
    rng = make_rng(simulation.calendar.params.seed, "day", day, user.user_id)
    is_active = rng.random() < user.visit_probability
    if day == simulation.calendar.outage_day and rng.random() >= simulation.calendar.params.outage_share:
        return
    if not is_active:
        return
    midnight = simulation.calendar.midnight(day).timestamp()
    clock = max(midnight, user.registration_time.timestamp() + 60)
    for start in _session_starts(rng, user):
        clock = max(midnight + start, clock + 60)
        for interaction in _simulate_session(simulation, rng, day, row, clock):
            if interaction.started_at + interaction.total_seconds > midnight + SECONDS_PER_DAY - 60:
                return
            clock = interaction.started_at + interaction.total_seconds
            simulation.seen[row, _video_row(interaction.video)] = True
            yield interaction


def _session_starts(rng: np.random.Generator, user: SimulatedUser) -> list[float]:
    """Draw the starts of a user's sessions on a day: seconds after midnight (UTC), in order."""
    num_sessions = min(1 + rng.poisson(user.mean_sessions - 1), MAX_SESSIONS)
    hours = user.peak_hour + rng.normal(scale=1.5, size=num_sessions) - user.utc_offset_minutes / 60
    return sorted(float(hour) * 3600 for hour in hours % 24)


def _simulate_session(
    simulation: Simulation, rng: np.random.Generator, day: int, row: int, clock: float
) -> Iterator[SimulatedInteraction]:
    """Yield one session. The feed is chosen at its start and watched in order."""
    user = simulation.users[row]
    hour = (clock / 3600 + user.utc_offset_minutes / 60) % 24
    daypart_effect = simulation.daypart_effects[int(hour * DAYPARTS / 24)]
    device = user.profile["device"] if rng.random() >= RANDOM_ANDROID_RATE else "android"
    network = "wifi" if hour >= EVENING_HOUR or device == "tablet" else "mobile"
    feed = choose_videos(
        rng,
        MIN_FEED_LENGTH + int(rng.poisson(MEAN_EXTRA_VIDEOS)),
        age_days=(clock - simulation.video_arrays.upload_time) / SECONDS_PER_DAY,
        view_counts=simulation.view_counts,
        affinity=affinity(user, day, daypart_effect, simulation.video_arrays.topics)
        + QUALITY_WEIGHT * simulation.video_arrays.quality,
        seen=simulation.seen[row],
    )
    for position, video_row in enumerate(feed):
        context = {"started_at": clock, "device": device, "network": network, "feed_position": position}
        interaction = simulate_watch(rng, user, simulation.videos[video_row], day, daypart_effect, **context)
        clock += interaction.total_seconds
        yield interaction


def _video_row(video: SimulatedVideo) -> int:
    return int(video.video_id.removeprefix("syn-v"))
