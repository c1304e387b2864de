"""Simulate the days in order: which users come, when, and what they watch.

The mechanism decides what is shown and how it is watched (simulator/mechanisms/interface.py).
"""

from collections.abc import Iterator

import numpy as np

from simulator.mechanisms.interface import Mechanism, Session
from simulator.seeds import make_rng
from simulator.users import SimulatedUser
from simulator.watching import SimulatedInteraction

SECONDS_PER_DAY = 86_400
MAX_SESSIONS = 4
RANDOM_ANDROID_RATE = 0.1  # share of sessions on an android device, whatever the user's own device
EVENING_HOUR = 18  # users are on wifi from this local hour to midnight


def simulate_days(mechanism: Mechanism) -> Iterator[list[SimulatedInteraction]]:
    """Yield the interactions of each day, by user and time. Updates the state of the mechanism."""
    for day in range(mechanism.calendar.num_days):
        interactions = [
            interaction
            for row, user in enumerate(mechanism.users)
            if user.arrival_day <= day
            for interaction in _simulate_user_day(mechanism, day, row, user)
        ]
        mechanism.end_day(day, interactions)
        yield interactions


def _simulate_user_day(
    mechanism: Mechanism, day: int, row: int, user: SimulatedUser
) -> Iterator[SimulatedInteraction]:
    """Yield what a user watches on a day, nothing if the user does not come."""
    calendar = mechanism.calendar
    rng = make_rng(calendar.params.seed, "day", day, user.user_id)
    is_active = rng.random() < user.visit_probability
    if day == calendar.outage_day and rng.random() >= calendar.params.outage_share:
        return
    if not is_active:
        return
    midnight = calendar.midnight(day).timestamp()
    clock = max(midnight, user.registration_time.timestamp() + 60)
    for start in _session_starts(rng, user):
        clock = max(midnight + start, clock + 60)
        session = _open_session(rng, day, row, user, clock)
        for interaction in _simulate_session(mechanism, rng, session):
            if interaction.started_at + interaction.total_seconds > midnight + SECONDS_PER_DAY - 60:
                return
            clock = interaction.started_at + interaction.total_seconds
            mechanism.record_interaction(rng, session, interaction)
            yield interaction


def _session_starts(rng: np.random.Generator, user: SimulatedUser) -> list[float]:
    """Draw the starts of a user's sessions on a day: seconds after midnight (UTC), in order."""
    num_sessions = min(1 + rng.poisson(user.mean_sessions - 1), MAX_SESSIONS)
    hours = user.peak_hour + rng.normal(scale=1.5, size=num_sessions) - user.utc_offset_minutes / 60
    return sorted(float(hour) * 3600 for hour in hours % 24)


def _open_session(rng: np.random.Generator, day: int, row: int, user: SimulatedUser, clock: float) -> Session:
    hour = (clock / 3600 + user.utc_offset_minutes / 60) % 24
    device = user.profile["device"] if rng.random() >= RANDOM_ANDROID_RATE else "android"
    network = "wifi" if hour >= EVENING_HOUR or device == "tablet" else "mobile"
    return Session(day, row, clock, hour, device, network)


def _simulate_session(
    mechanism: Mechanism, rng: np.random.Generator, session: Session
) -> Iterator[SimulatedInteraction]:
    """Yield one session, video by video."""
    for position, video_row in enumerate(mechanism.choose_feed(rng, session)):
        context = {
            "started_at": session.clock,
            "device": session.device,
            "network": session.network,
            "feed_position": position,
        }
        interaction = mechanism.watch(rng, session, video_row, context)
        session.clock += interaction.total_seconds
        yield interaction
