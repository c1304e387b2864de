"""Make the mechanism that the parameters name."""

from collections.abc import Callable

from simulator.calendar import Calendar
from simulator.mechanisms.ephemeral import make_ephemeral
from simulator.mechanisms.interface import Mechanism
from simulator.mechanisms.nulls import make_impersonal, make_noise, make_static
from simulator.mechanisms.sessions import make_sessions
from simulator.mechanisms.topics import make_topics

MECHANISMS: dict[str, Callable[[Calendar], Mechanism]] = {
    "topics": make_topics,
    "noise": make_noise,
    "impersonal": make_impersonal,
    "static": make_static,
    "sessions": make_sessions,
    "ephemeral": make_ephemeral,
}


def make_mechanism(calendar: Calendar) -> Mechanism:
    """Make the platform of `simulator.mechanism` as it is at the start of day 0."""
    return MECHANISMS[calendar.params.mechanism](calendar)
